import { describe, expect, it } from 'vitest';
import type { SchedulerOptions } from '../../model-server/scheduler/scheduler-options.ts';
import { input, settle, setUp } from './scheduler-setup.ts';

const MS = 1000;
const roomy = { queue: { maxItems: 10_000, maxTokens: 100_000 } };

/** A scheduler that knows what batches take: 1 ms and 1 ms for each token. */
function start(instances = 1, override: Partial<SchedulerOptions> = {}) {
  const parts = setUp(instances, {
    ...roomy,
    batch: { maxItems: 4, maxTokens: 1000 },
    packed: true,
    ...override,
  });
  const us = (tokens: number) => (1 + tokens) * MS;
  for (const tokens of [1, 2, 8, 20, 40])
    parts.scheduler.costs.learn({ rows: 1, tokens, length: tokens }, us(tokens));
  parts.pool.computeUs = (rows) => us(rows.flat().length);
  const text = (tokens: number) => input(...Array.from({ length: tokens }, () => 7));
  const submit = (tokens: number, leftMs: number, options = {}) => {
    const deadlineUs = parts.clock.nowUs() + leftMs * MS;
    const [promise] = parts.scheduler.submit([text(tokens)], { deadlineUs, ...options });
    promise!.catch(() => undefined);
    return promise!;
  };
  return { ...parts, submit };
}

describe('deadlines', () => {
  it('let in what an idle server can do in time, and refuse at once what it can not', () => {
    const { submit } = start();
    expect(() => submit(20, 25)).not.toThrow();
    const { submit: other } = start();
    expect(() => other(20, 15)).toThrowError(
      expect.objectContaining({
        reason: 'DEADLINE_UNREACHABLE',
        message: expect.stringMatching(/may take 25 ms.*leaves 15 ms.*again in about 10 ms/),
        retryAfterMs: 10,
      }),
    );
  });

  it('count what waits and what runs, on all instances', () => {
    for (const [instances, fits] of [
      [1, false],
      [2, true],
    ] as const) {
      const { clock, submit, scheduler } = start(instances);
      for (let i = 0; i < instances; i++) submit(40, 1000);
      clock.tick();
      for (let i = 0; i < 4; i++) submit(20, 1000);
      const late = () => scheduler.refuseEarly(1, { deadlineUs: clock.nowUs() + 100 * MS });
      if (fits) expect(late).not.toThrow();
      else expect(late).toThrowError(expect.objectContaining({ reason: 'DEADLINE_UNREACHABLE' }));
    }
  });

  it('count nothing that is less urgent, and of other tenants only what they may take meanwhile', () => {
    const { clock, submit } = start();
    submit(1, 1000);
    clock.tick();
    for (let i = 0; i < 50; i++) submit(40, 100_000, { priority: 'bulk' });
    expect(() => submit(10, 30, { priority: 'interactive' })).not.toThrow();
    for (let i = 0; i < 50; i++) submit(40, 100_000, { tenant: 'heavy' });
    expect(() => submit(10, 60, { tenant: 'heavy' })).toThrowError();
    expect(() => submit(10, 60, { tenant: 'light' })).not.toThrow();
  });

  it('are not guessed at before anything has been measured', () => {
    const { scheduler } = setUp(1, roomy);
    expect(() => scheduler.submit([input(1, 2, 3)], { deadlineUs: 1 })).not.toThrow();
  });

  it('end the wait of what can no longer be done in time; it is never run', async () => {
    const { clock, pool, submit } = start();
    submit(40, 1000);
    clock.tick();
    const doomed = submit(20, 75);
    const fine = submit(20, 1000);
    // The running batch takes longer than it should.
    clock.advance(55 * MS);
    pool.held[0]!.succeed();
    await expect(doomed).rejects.toMatchObject({
      reason: 'DEADLINE_EXCEEDED',
      message: expect.stringMatching(/after 55 ms in the queue.*leaves 20 ms.*about 4[0-9] ms/),
    });
    expect(pool.held.map(({ rows }) => rows.length)).toEqual([1]);
    pool.held[0]!.succeed();
    await expect(fine).resolves.toBeDefined();
  });

  it('are foreseen as late as texts have been done lately', async () => {
    const { clock, pool, submit } = start();
    // Batches take what they should, but answers come twice as late.
    for (let i = 0; i < 200; i++) {
      const done = submit(20, 1000);
      clock.tick();
      clock.advance(42 * MS);
      pool.held[0]!.succeed();
      await done;
    }
    expect(() => submit(20, 40)).toThrowError(
      expect.objectContaining({ message: expect.stringMatching(/may take 4[0-9] ms.*leaves 40 ms/) }),
    );
    expect(() => submit(20, 60)).not.toThrow();
  });

  it('fifo runs everything in order, however late', async () => {
    const { clock, pool, submit } = start(1, { admission: 'fifo' });
    submit(40, 1000);
    clock.tick();
    const late = submit(20, 1);
    clock.advance(500 * MS);
    pool.held[0]!.succeed();
    await settle();
    pool.held[0]!.succeed();
    await expect(late).resolves.toBeDefined();
  });
});
