import { describe, expect, it, vi } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import type { Pool } from '../../model-server/executor/pool.ts';
import type { Executor } from '../../model-server/types.ts';
import { batch, eventually, GRACE_MS, usePools } from './pool-setup.ts';

const { makePool, fire, pending } = usePools();
const runOn = (pool: Pool, id: number) => pool.take()!.run(batch(id));
const freed = (pool: Pool) => eventually(() => expect(pool.free).toBeGreaterThan(0));

describe('a pool of worker threads', () => {
  it('runs batches and is free again afterwards', async () => {
    const pool = makePool();
    await pool.open();
    const result = await pool.take()!.run(batch(5, 6, 7));
    expect(result.outputs.map((output) => output[0])).toEqual([5, 6, 7]);
    expect(pool.free).toBe(1);
  });

  it('is busy from the moment a batch is given', async () => {
    const pool = makePool({ instances: 2 });
    await pool.open();
    const first = runOn(pool, 5);
    expect(pool.free).toBe(1);
    const second = runOn(pool, 6);
    expect(pool.take()).toBeUndefined();
    await Promise.all([first, second]);
    expect(pool.free).toBe(2);
  });

  it('takes one more batch ahead of time, on the instance that has been busy longest, and keeps their order', async () => {
    const pool = makePool({ instances: 2 });
    await pool.open();
    expect(pool.prefetch()).toBeUndefined();
    const ended: number[] = [];
    const run = (executor: Executor, id: number) =>
      executor.run(batch(id)).then((result) => ended.push(result.outputs[0]![0]!));
    const oldest = pool.take()!;
    const runs = [run(oldest, 5), run(pool.take()!, 6)];
    const next = pool.prefetch();
    expect(next).toBe(oldest);
    runs.push(run(next!, 7));
    expect(pool.prefetch()).toBeUndefined();
    await Promise.all(runs);
    expect(ended.indexOf(5)).toBeLessThan(ended.indexOf(7));
    expect(pool.free).toBe(2);
  });

  it('a dead worker fails the batch that was handed over ahead of time, too', async () => {
    const pool = makePool();
    await pool.open();
    const running = expect(runOn(pool, 666)).rejects.toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    const waiting = expect(pool.prefetch()!.run(batch(5))).rejects.toMatchObject({
      reason: 'EXECUTOR_CRASHED',
    });
    await Promise.all([running, waiting]);
  });

  it('a refused batch is BATCH_FAILED and leaves the instance alive', async () => {
    const pool = makePool();
    await pool.open();
    await expect(runOn(pool, 13)).rejects.toMatchObject({
      reason: 'BATCH_FAILED',
      message: expect.stringContaining('refused'),
    });
    expect((await runOn(pool, 5)).outputs[0]![0]).toBe(5);
  });

  it('a dead worker fails its batch as retryable, is started again, and tells the scheduler', async () => {
    const pool = makePool();
    await pool.open();
    const changed = vi.fn();
    pool.onChange(changed);
    const error = await runOn(pool, 666).catch((thrown: ServingError) => thrown);
    expect(error).toBeInstanceOf(ServingError);
    expect(error).toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    expect((error as ServingError).row.retryable).toBe(true);
    expect(pool.free).toBe(0);
    fire(100);
    await freed(pool);
    expect(changed).toHaveBeenCalled();
    expect((await runOn(pool, 5)).outputs[0]![0]).toBe(5);
  });

  it('counts the crashes of each instance for itself', async () => {
    const pool = makePool({ instances: 2, maxRespawns: 1 });
    await pool.open();
    for (const _ of ['one', 'the other']) await expect(runOn(pool, 666)).rejects.toThrow();
    expect(pending()).toEqual([100, 100]);
    expect(pool.failure).toBeUndefined();
  });

  it('waits longer before each respawn, and gives up after the limit', async () => {
    const crashes: (number | undefined)[] = [];
    const pool = makePool({ onCrash: ({ respawnInMs }) => crashes.push(respawnInMs) });
    await pool.open();
    const changed = vi.fn();
    pool.onChange(changed);
    for (const delayMs of [100, 200]) {
      await expect(runOn(pool, 666)).rejects.toThrow();
      expect(pending()).toEqual([delayMs]);
      fire(delayMs);
      await freed(pool);
    }
    changed.mockClear();
    await expect(runOn(pool, 666)).rejects.toThrow();
    expect(crashes).toEqual([100, 200, undefined]);
    expect(pool.failure).toMatchObject({ reason: 'BACKEND_UNAVAILABLE' });
    expect(changed).toHaveBeenCalled();
    expect(pool.take()).toBeUndefined();
  });

  it('waits no longer than 5 s before a respawn, since requests wait for it', async () => {
    const pool = makePool({ modelFile: 'any', maxRespawns: 8 });
    await pool.open();
    const delaysMs: number[] = [];
    for (let crash = 0; crash < 8; crash++) {
      await expect(runOn(pool, 666)).rejects.toThrow();
      delaysMs.push(...pending());
      fire(delaysMs.at(-1)!);
      await freed(pool);
    }
    expect(delaysMs).toEqual([100, 200, 400, 800, 1600, 3200, 5000, 5000]);
  });

  it('close ends the threads, destroy ends even one that hangs; both can be called twice', async () => {
    const pool = makePool({ instances: 2 });
    await pool.open();
    const hanging = runOn(pool, 777);
    const outcome = expect(hanging).rejects.toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    const ended = pool.destroy();
    await outcome;
    fire(GRACE_MS);
    await ended;
    await pool.destroy();
    expect(pool.states.map((state) => state.state)).toEqual(['closed', 'closed']);
    const other = makePool();
    await other.open();
    await Promise.all([other.close(), other.close()]);
    expect(other.states[0]!.state).toBe('closed');
    expect(pending()).toEqual([]);
  });

  it.each(['fails-to-load', 'dies-on-load'])('a model that %s is MODEL_LOAD_FAILED', async (modelFile) => {
    const pool = makePool({ modelFile, instances: 2 });
    await expect(pool.open()).rejects.toMatchObject({ reason: 'MODEL_LOAD_FAILED' });
  });

  it('a real ONNX file that is none is MODEL_LOAD_FAILED naming the file', async () => {
    const pool = makePool({ modelFile: new URL(import.meta.url).pathname, worker: undefined });
    await expect(pool.open()).rejects.toMatchObject({
      reason: 'MODEL_LOAD_FAILED',
      message: expect.stringContaining('executor.test.ts'),
    });
  });
});
