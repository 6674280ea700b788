import { expect, it } from 'vitest';
import { Slots } from '../../orchestrator/adapters/slots.ts';

it('runs so many at once, the others in order, and goes on after a failure', async () => {
  const slots = new Slots(2);
  const started: number[] = [];
  const gates = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
  const runs = gates.map(({ promise }, index) =>
    slots.run(async () => {
      started.push(index);
      await promise;
      return index;
    }),
  );
  const outcome = Promise.allSettled(runs);
  expect(started).toEqual([0, 1]);
  gates[1]!.reject(new Error('broken'));
  await expect(runs[1]).rejects.toThrow('broken');
  expect(started).toEqual([0, 1, 2]);
  for (const { resolve } of gates) resolve();
  expect((await outcome).map((one) => (one.status === 'fulfilled' ? one.value : 'broken'))).toEqual([
    0,
    'broken',
    2,
    3,
    4,
  ]);
  expect(started).toEqual([0, 1, 2, 3, 4]);
  expect(await slots.run(async () => 'free again')).toBe('free again');
});
