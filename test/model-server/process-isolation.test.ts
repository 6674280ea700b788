import { describe, expect, it } from 'vitest';
import type { ServingError } from '../../model-server/errors.ts';
import type { Pool } from '../../model-server/executor/pool.ts';
import { batch, eventually, GRACE_MS, usePools } from './pool-setup.ts';

const { makePool, fire, pending } = usePools();
const runOn = (pool: Pool, ...ids: number[]) => pool.take()!.run(batch(...ids));
const freed = (pool: Pool) => eventually(() => expect(pool.free).toBeGreaterThan(0));

describe.each(['thread', 'process'] as const)('an instance in a %s', (isolation) => {
  it('answers texts and raw tensors, and says how it is kept apart', async () => {
    const pool = makePool({ isolation });
    await pool.open();
    expect(pool.states).toEqual([
      { device: 'cpu', executionProvider: 'cpu', threads: 1, state: 'idle', isolation, note: '' },
    ]);
    expect((await runOn(pool, 5, 6)).outputs.map((output) => output[0])).toEqual([5, 6]);
    const data = Uint8Array.from({ length: 16 }, (_, at) => at);
    const tensor = { name: 'x', dataType: 'FP32' as const, shape: [1, 2], data: data.slice(4, 12) };
    const { tensors } = await pool
      .take()!
      .run({ kind: 'tensors', rows: 1, inputs: [tensor], outputs: ['x'] });
    expect(tensors).toMatchObject([{ name: 'x', dataType: 'FP32', shape: [1, 2] }]);
    expect(Array.from(tensors[0]!.data)).toEqual([4, 5, 6, 7, 8, 9, 10, 11]);
  });

  it('killed while it loads: MODEL_LOAD_FAILED, and none is left', async () => {
    const pool = makePool({ isolation, modelFile: 'dies-on-load', instances: 2 });
    await expect(pool.open()).rejects.toMatchObject({
      reason: 'MODEL_LOAD_FAILED',
      message: expect.stringMatching(/model m version 1: it died while it loaded/),
    });
    expect(pool.states.every((state) => state.state === 'crashed')).toBe(true);
    expect(pool.healthy).toBe(false);
  });

  it('killed while it runs: its batches fail as retryable, the other goes on, and it comes back', async () => {
    const pool = makePool({ isolation, instances: 2 });
    await pool.open();
    const error = await runOn(pool, 666).catch((thrown: ServingError) => thrown);
    expect(error).toMatchObject({ reason: 'EXECUTOR_CRASHED', row: { retryable: true } });
    expect(pool.free).toBe(1);
    expect((await runOn(pool, 5)).outputs[0]![0]).toBe(5);
    fire(100);
    await eventually(() => expect(pool.free).toBe(2));
  });

  it('killed while it is closed: close does not hang', async () => {
    const pool = makePool({ isolation, modelFile: 'dies-on-close' });
    await pool.open();
    await pool.close();
    expect(pool.states[0]!.state).toBe('closed');
  });

  it('killed by a batch that close waits for: close does not hang', async () => {
    const pool = makePool({ isolation });
    await pool.open();
    const dying = runOn(pool, 666).catch((thrown: ServingError) => thrown);
    await pool.close();
    expect(await dying).toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    expect(pending()).toEqual([]);
  });

  it('close finishes what runs and what was handed over ahead of time', async () => {
    const pool = makePool({ isolation });
    await pool.open();
    const runs = [runOn(pool, 5), pool.prefetch()!.run(batch(6))];
    await pool.close();
    expect((await Promise.all(runs)).map((result) => result.outputs[0]![0])).toEqual([5, 6]);
  });

  it('close cancels a respawn that waits', async () => {
    const pool = makePool({ isolation });
    await pool.open();
    await expect(runOn(pool, 666)).rejects.toThrow();
    expect(pending()).toEqual([100]);
    await pool.close();
    expect(pending()).toEqual([]);
  });

  it('destroy ends one that loads for ever, and one that runs for ever', async () => {
    const loading = makePool({ isolation, modelFile: 'hangs-on-load' });
    const opening = loading.open().catch((thrown: ServingError) => thrown);
    const ended = loading.destroy();
    if (isolation === 'thread') fire(GRACE_MS);
    await ended;
    expect(await opening).toMatchObject({ reason: 'MODEL_LOAD_FAILED' });
    const running = makePool({ isolation });
    await running.open();
    const hanging = runOn(running, 777).catch((thrown: ServingError) => thrown);
    const over = running.destroy();
    // Its caller need not wait for that.
    expect(await hanging).toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    if (isolation === 'thread') fire(GRACE_MS);
    await over;
    expect(pending()).toEqual([]);
  });

  it('dies again while it is started again: waits longer, then is given up', async () => {
    const pool = makePool({ isolation, maxRespawns: 1 });
    await pool.open();
    await expect(runOn(pool, 666)).rejects.toThrow();
    fire(100);
    await freed(pool);
    await expect(runOn(pool, 666)).rejects.toThrow();
    expect(pool.failure).toMatchObject({ reason: 'BACKEND_UNAVAILABLE' });
  });
});

describe('memory of an instance', () => {
  it('a process tells what it takes, a thread has nothing of its own', async () => {
    const [process, thread] = [makePool({ isolation: 'process', instances: 2 }), makePool()];
    await Promise.all([process.open(), thread.open()]);
    expect(process.residentBytes).toBeGreaterThan(2 * 10 * 2 ** 20);
    expect(thread.residentBytes).toBeUndefined();
    for (const _ of ['one', 'the other']) await expect(runOn(process, 666)).rejects.toThrow();
    // The dead take nothing.
    expect(process.residentBytes).toBe(0);
  });
});
