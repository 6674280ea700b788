import { describe, expect, it, vi } from 'vitest';
import type { ServingError } from '../../model-server/errors.ts';
import { batchLimitMs } from '../../model-server/executor/batch-limit.ts';
import type { Pool } from '../../model-server/executor/pool.ts';
import { batch, canaryId, eventually, usePools } from './pool-setup.ts';

const WATCHDOG_MS = 60_000;
const { makePool, fire, pending } = usePools();
const runOn = (pool: Pool, ...ids: number[]) => pool.take()!.run(batch(...ids));
const freed = (pool: Pool) => eventually(() => expect(pool.free).toBeGreaterThan(0));
const answer = (id: number) => ({
  outputs: [Float32Array.of(id)],
  tensors: [],
  computeUs: 0,
  postUs: 0,
});

describe.each(['thread', 'process'] as const)('the watchdog over a %s', (isolation) => {
  it('ends an instance whose batch does not come back, fails the batch as retryable, and starts it again', async () => {
    const crashes: unknown[] = [];
    const pool = makePool({ isolation, watchdogMs: WATCHDOG_MS, onCrash: (crash) => crashes.push(crash) });
    await pool.open();
    const hanging = runOn(pool, 777).catch((error: ServingError) => error);
    const behind = pool
      .prefetch()!
      .run(batch(5))
      .catch((error: ServingError) => error);
    fire(WATCHDOG_MS);
    expect(await hanging).toMatchObject({
      reason: 'EXECUTOR_CRASHED',
      message: expect.stringContaining('no sign of life for 60000 ms'),
      row: { retryable: true },
    });
    expect(await behind).toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    expect(pool.states[0]!.state).toBe('unhealthy');
    expect(pool.healthy).toBe(false);
    expect(pool.take()).toBeUndefined();
    expect(crashes).toMatchObject([{ why: expect.stringContaining('no sign of life'), respawnInMs: 100 }]);
    fire(100);
    await freed(pool);
    expect(pool.healthy).toBe(true);
    expect((await runOn(pool, 5)).outputs[0]![0]).toBe(5);
  });

  it('leaves the other instances at work', async () => {
    const pool = makePool({ isolation, instances: 2, watchdogMs: WATCHDOG_MS });
    await pool.open();
    const hanging = runOn(pool, 777).catch((error: ServingError) => error);
    fire(WATCHDOG_MS);
    await hanging;
    expect(pool.healthy).toBe(true);
    expect((await runOn(pool, 5)).outputs[0]![0]).toBe(5);
  });

  it('ends an instance that hangs while it is closed', async () => {
    const pool = makePool({ isolation, modelFile: 'hangs-on-close', watchdogMs: WATCHDOG_MS });
    await pool.open();
    const closing = pool.close();
    fire(WATCHDOG_MS);
    await closing;
    expect(pool.states[0]!.state).toBe('closed');
  });
});

describe('the watchdog', () => {
  it('counts for each batch anew, and not while nothing runs', async () => {
    const pool = makePool({ watchdogMs: WATCHDOG_MS });
    await pool.open();
    expect(pending()).toEqual([]);
    const first = runOn(pool, 5);
    const second = pool.prefetch()!.run(batch(6));
    expect(pending()).toEqual([WATCHDOG_MS]);
    await first;
    expect(pending()).toEqual([WATCHDOG_MS]);
    await second;
    expect(pending()).toEqual([]);
  });

  it('gives a batch that should take long as much more time, and no other', async () => {
    const pool = makePool({ watchdogMs: WATCHDOG_MS });
    await pool.open();
    const long = pool
      .take()!
      .run(batch(777), 30e6)
      .catch((error: ServingError) => error);
    const behind = pool
      .prefetch()!
      .run(batch(6))
      .catch(() => undefined);
    expect(pending()).toEqual([600_000]);
    fire(600_000);
    expect(await long).toMatchObject({ message: expect.stringContaining('no sign of life for 600000 ms') });
    await behind;
  });

  it('counts a long batch by its own limit, also when it was handed over ahead of time', async () => {
    const pool = makePool({ watchdogMs: WATCHDOG_MS });
    await pool.open();
    const first = pool.take()!.run(batch(5));
    const second = pool.prefetch()!.run(batch(6), 30e6);
    expect(pending()).toEqual([WATCHDOG_MS]);
    await first;
    expect(pending()).toEqual([600_000]);
    await second;
  });

  it.each([
    ['nothing is known', 60_000, undefined, 60_000],
    ['it should take a moment', 60_000, 1000, 60_000],
    ['twenty times what it should take is just the limit', 60_000, 3e6, 60_000],
    ['it should take minutes', 60_000, 120e6, 2_400_000],
    ['the prediction is no number', 60_000, Number.NaN, 60_000],
    ['the prediction is out of the world', 60_000, Number.POSITIVE_INFINITY, 86_400_000],
    ['there is no watchdog', 0, 120e6, 0],
  ])('when %s', (_what, watchdogMs, expectedUs, limitMs) => {
    expect(batchLimitMs(watchdogMs, expectedUs)).toBe(limitMs);
  });
});

describe('the canary batch', () => {
  const withCanary = async (...given: Parameters<typeof makePool>) => {
    const pool = makePool(...given);
    await pool.open();
    pool.setCanary(batch(canaryId), answer(canaryId));
    return pool;
  };

  it('a poison input leaves a sound instance alive, on a GPU after each failure', async () => {
    const pool = await withCanary({ modelFile: 'gpu-sound' });
    const changed = vi.fn();
    pool.onChange(changed);
    await expect(runOn(pool, 13)).rejects.toMatchObject({ reason: 'BATCH_FAILED' });
    // It proves itself before it takes work, ahead of time as well.
    expect(pool.free).toBe(0);
    expect(pool.prefetch()).toBeUndefined();
    await freed(pool);
    expect(changed).toHaveBeenCalled();
    expect(pending()).toEqual([]);
    expect((await runOn(pool, 5)).outputs[0]![0]).toBe(5);
  });

  it('on a CPU only after three failures in a row', async () => {
    const pool = await withCanary();
    for (let failure = 1; failure <= 2; failure++) {
      await expect(runOn(pool, 13)).rejects.toThrow();
      expect(pool.free).toBe(1);
    }
    await runOn(pool, 5);
    for (let failure = 1; failure <= 3; failure++) {
      expect(pool.free).toBe(1);
      await expect(runOn(pool, 13)).rejects.toThrow();
    }
    expect(pool.free).toBe(0);
    await freed(pool);
  });

  it('an instance that gives other values than before is ended and started again', async () => {
    const crashes: unknown[] = [];
    const pool = await withCanary({ modelFile: 'gpu-broken', onCrash: (crash) => crashes.push(crash) });
    pool.setCanary(batch(canaryId), answer(canaryId * 2));
    await expect(runOn(pool, 13)).rejects.toMatchObject({ reason: 'BATCH_FAILED' });
    await eventually(() => expect(pool.states[0]!.state).toBe('unhealthy'));
    expect(pool.healthy).toBe(false);
    expect(crashes).toMatchObject([{ why: expect.stringMatching(/canary.*row 0 is off by 42/) }]);
  });

  it.each([
    ['values that are not finite', 99, undefined, /not finite/],
    ['no answer', 13, undefined, /canary batch failed: .*refused/],
    ['fewer values', canaryId, { ...answer(0), outputs: [Float32Array.of(1, 2)] }, /1 values instead of 2/],
  ])('%s is a fault', async (_, id, expected, why) => {
    const crashes: unknown[] = [];
    const pool = await withCanary({ modelFile: 'gpu-broken', onCrash: (crash) => crashes.push(crash) });
    pool.setCanary(batch(id), expected);
    await expect(runOn(pool, 13)).rejects.toThrow();
    await eventually(() => expect(crashes).toMatchObject([{ why: expect.stringMatching(why) }]));
  });

  it('an instance that was started again proves itself before it takes work, and is given up after the limit', async () => {
    const crashes: (number | undefined)[] = [];
    const pool = await withCanary({ onCrash: ({ respawnInMs }) => crashes.push(respawnInMs) });
    pool.setCanary(batch(99));
    await expect(runOn(pool, 666)).rejects.toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    fire(100);
    await eventually(() => expect(pending()).toContain(200));
    expect(pool.free).toBe(0);
    fire(200);
    await eventually(() => expect(pool.failure).toMatchObject({ reason: 'BACKEND_UNAVAILABLE' }));
    expect(crashes).toEqual([100, 200, undefined]);
    expect(pool.healthy).toBe(false);
  });

  it('one that passes takes work again', async () => {
    const pool = await withCanary();
    await expect(runOn(pool, 666)).rejects.toThrow();
    fire(100);
    await freed(pool);
    expect((await runOn(pool, 5)).outputs[0]![0]).toBe(5);
  });
});
