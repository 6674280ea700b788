import { describe, expect, it } from 'vitest';
import { input, settle, setUp } from './scheduler-setup.ts';

describe('lone requests', () => {
  it('are told to the pool as such: one input, while nothing else waits or runs', async () => {
    const { clock, pool, submit } = setUp(3);
    const asked: boolean[] = [];
    const take = pool.take.bind(pool);
    pool.take = (isAlone) => {
      asked.push(isAlone ?? false);
      return take();
    };
    submit(1);
    clock.tick();
    submit(2);
    clock.tick();
    for (const held of [...pool.held]) held.succeed();
    await settle();
    submit(3);
    submit(4);
    clock.tick();
    // Each is asked once more when nothing is left to hand over.
    expect(asked.filter((_, at) => at % 2 === 0)[0]).toBe(true);
    expect(asked.filter(Boolean)).toHaveLength(1);
  });

  it('are none while they are too short to gain', async () => {
    const { clock, pool, scheduler } = setUp(3);
    const asked: boolean[] = [];
    const take = pool.take.bind(pool);
    pool.loneTokens = 4;
    pool.take = (isAlone) => {
      asked.push(isAlone ?? false);
      return take();
    };
    for (const ids of [
      [1, 1, 1],
      [1, 1, 1, 1],
    ]) {
      scheduler.submit([input(...ids)]);
      clock.tick();
      for (const held of [...pool.held]) held.succeed();
      await settle();
    }
    expect(asked.filter(Boolean)).toHaveLength(1);
    expect(asked[0]).toBe(false);
  });

  it('teach nothing about the other instances', async () => {
    const { clock, pool, scheduler, submit } = setUp(1);
    pool.isLone = true;
    submit(1);
    clock.tick();
    pool.held[0]!.succeed();
    await settle();
    expect(scheduler.costs.samples).toHaveLength(0);
    pool.isLone = false;
    submit(2);
    clock.tick();
    pool.held[0]!.succeed();
    await settle();
    expect(scheduler.costs.samples).toHaveLength(1);
  });
});
