import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { RUNTIME_BYTES } from '../../model-server/models/memory/predict.ts';
import { startLifecycle, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { ask, loaded, MIB, memory, PREDICTED, roomFor, roomyRepository, WEIGHTS } from './room.ts';
import { hold, liveWorkers, resetWorkers } from './watched-workers.ts';

vi.mock('../../model-server/executor/thread-channel.ts', async (original) =>
  (await import('./watched-workers.ts')).watched(await original()),
);

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  resetWorkers();
  for (const undo of cleanUp.splice(0).reverse()) await undo();
  expect(liveWorkers.size).toBe(0);
});

function repository(...models: string[]) {
  const { path, remove } = roomyRepository(...models);
  cleanUp.push(remove);
  return path;
}

describe('the ledger', () => {
  it('holds what is loaded, predicted and measured, and is empty again afterwards', async () => {
    await using server = await startLifecycle(repository('a', 'b'), roomFor(2));
    expect(memory(server)).toMatchObject({ usedBytes: RUNTIME_BYTES, rows: [] });
    await ask(server, 'a');
    const [row] = memory(server).rows;
    expect(row).toMatchObject({ owner: 'model a version 1', device: 'cpu', leases: 0, keepAliveMs: -1 });
    expect(row!.measuredBytes).toBe(WEIGHTS);
    expect(row!.predictedBytes).toBeGreaterThan(row!.measuredBytes);
    expect(row!.predictedBytes).toBeLessThanOrEqual(PREDICTED);
    expect(memory(server).usedBytes).toBe(RUNTIME_BYTES + WEIGHTS);
    expect(server.admin.list()[0]!.memory).toMatchObject({ measuredBytes: WEIGHTS });
    await server.admin.unload('a');
    expect(memory(server)).toMatchObject({ usedBytes: RUNTIME_BYTES, rows: [] });
  });

  it('counts a load under way as predicted, and forgets one that has failed', async () => {
    await using server = await startLifecycle(repository('a'), roomFor(1));
    const held = hold('open', 'a');
    const answer = ask(server, 'a').catch((error: unknown) => error);
    const worker = await held.reached;
    expect(memory(server).rows).toMatchObject([{ owner: 'model a version 1', measuredBytes: 0 }]);
    worker.kill();
    expect(await answer).toMatchObject({ reason: 'MODEL_LOAD_FAILED' });
    expect(memory(server)).toMatchObject({ usedBytes: RUNTIME_BYTES, rows: [] });
  });
});

describe('when room is needed', () => {
  it('what has been idle for longest goes, and comes back when it is asked for', async () => {
    await using server = await startLifecycle(repository('a', 'b', 'c'), roomFor(2));
    await ask(server, 'a');
    await ask(server, 'b');
    await ask(server, 'c');
    expect(server.evictions).toEqual(['a/1']);
    expect(loaded(server)).toEqual(['b/1', 'c/1']);
    expect(server.admin.list()[0]).toMatchObject({
      state: 'unloaded',
      reason: expect.stringMatching(/model c version 1 needed \d+ MB on cpu/),
    });
    await ask(server, 'a');
    expect(server.loads).toEqual(['a/1', 'b/1', 'c/1', 'a/1']);
  });

  it('something large goes before something small that has been idle for a little longer', async () => {
    const folder = repository('large');
    writeTextModel(folder, 'small', { weightBytes: MIB });
    writeTextModel(folder, 'wants', { weightBytes: WEIGHTS });
    const { budgetBytes = 0, ...options } = roomFor(1);
    await using server = await startLifecycle(folder, { ...options, budgetBytes: budgetBytes + MIB });
    await ask(server, 'small');
    await ask(server, 'large');
    await ask(server, 'wants');
    expect(server.evictions).toEqual(['large/1']);
    expect(loaded(server)).toEqual(['small/1', 'wants/1']);
  });

  it('what answers a request stays; the refusal has the figures and a time, and then it succeeds', async () => {
    await using server = await startLifecycle(repository('a', 'b'), roomFor(1));
    await ask(server, 'a');
    const held = hold('run', 'a');
    const running = ask(server, 'a');
    await held.reached;
    const refused = await ask(server, 'b').catch((error: unknown) => error);
    expect(refused).toMatchObject({
      reason: 'MEMORY_BUDGET_EXCEEDED',
      retryAfterMs: expect.any(Number),
      message: expect.stringMatching(
        /model b version 1 needs \d+ MB on cpu; the budget is 83 MB, 67 MB are used .*model a version 1 17 MB \(in use by 1\)/,
      ),
    });
    expect(server.states()).toEqual({ 'a/1': 'ready', 'b/1': 'unloaded' });
    held.release();
    expect((await running).vectors).toHaveLength(1);
    expect((await ask(server, 'b')).vectors).toHaveLength(1);
    expect(loaded(server)).toEqual(['b/1']);
  });

  it('a model that is larger than the budget is refused at once, and nothing goes for it', async () => {
    const folder = repository('a');
    writeTextModel(folder, 'huge', { weightBytes: 80 * MIB });
    let told = 0;
    await using server = await startLifecycle(folder, { ...roomFor(2), onState: () => told++ });
    await ask(server, 'a');
    told = 0;
    await expect(ask(server, 'huge')).rejects.toMatchObject({
      reason: 'MEMORY_BUDGET_EXCEEDED',
      retryAfterMs: undefined,
      message: expect.stringMatching(/never fits/),
    });
    expect(server.states()).toEqual({ 'a/1': 'ready', 'huge/1': 'unloaded' });
    expect(server.admin.list()[1]!.reason).toMatch(/never fits/);
    expect(server.evictions).toEqual([]);
    // Nothing has changed, so nobody is told, however many ask.
    expect(told).toBe(0);
    expect(server.lifecycle.registry.ready).toBe(true);
  });

  it('while another is being loaded it says when to try again', async () => {
    await using server = await startLifecycle(repository('a', 'b'), roomFor(1));
    const held = hold('open', 'a');
    const first = ask(server, 'a');
    await held.reached;
    await expect(ask(server, 'b')).rejects.toMatchObject({
      reason: 'MEMORY_BUDGET_EXCEEDED',
      retryAfterMs: expect.any(Number),
      message: expect.stringContaining('(loading)'),
    });
    held.release();
    await first;
    await ask(server, 'b');
    expect(loaded(server)).toEqual(['b/1']);
  });

  it('a model that is being unloaded by command is waited for', async () => {
    await using server = await startLifecycle(repository('a', 'b'), roomFor(1));
    await ask(server, 'a');
    const held = hold('close', 'a');
    const unloading = server.admin.unload('a');
    await held.reached;
    const answer = ask(server, 'b');
    held.release();
    expect((await answer).vectors).toHaveLength(1);
    await unloading;
    expect(server.evictions).toEqual([]);
    expect(memory(server).rows).toMatchObject([{ owner: 'model b version 1' }]);
  });

  it('a request for a model that is just being evicted waits and loads it again', async () => {
    await using server = await startLifecycle(repository('a'), roomFor(1));
    await ask(server, 'a');
    const held = hold('close', 'a');
    const evicting = server.admin.cleanUp();
    await held.reached;
    expect(server.states()).toEqual({ 'a/1': 'draining' });
    const answer = ask(server, 'a');
    held.release();
    expect((await answer).vectors).toHaveLength(1);
    await evicting;
    expect(server.loads).toEqual(['a/1', 'a/1']);
    expect(memory(server).rows).toHaveLength(1);
  });
});

describe('what is idle', () => {
  it('goes after its keep-alive, but not while it is in use, and each model has its own', async () => {
    const folder = repository('short', 'long', 'default');
    const keep = (model: string, seconds: number) =>
      writeFileSync(
        join(folder, model, 'config.pbtxt'),
        `parameters { key: "keep_alive_secs" value: { string_value: "${seconds}" } }`,
      );
    keep('short', 0);
    keep('long', 3600);
    await using server = await startLifecycle(folder, roomFor(3));
    for (const model of ['short', 'long', 'default']) await ask(server, model);
    {
      using _lease = await server.lifecycle.registry.acquire(target('short'));
      await server.checkMemory();
      expect(server.evictions).toEqual([]);
    }
    await server.checkMemory();
    expect(server.evictions).toEqual(['short/1']);
    expect(server.admin.list().find(({ name }) => name === 'short')).toMatchObject({
      state: 'unloaded',
      reason: expect.stringContaining('keep-alive of 0 ms'),
    });
    await ask(server, 'short');
    expect(server.loads.filter((load) => load === 'short/1')).toHaveLength(2);
  });

  it('follows the default of the server when the model says nothing', async () => {
    await using server = await startLifecycle(repository('a'), {
      ...roomFor(1),
      defaults: { keepAliveMs: 0 },
    });
    await ask(server, 'a');
    await server.checkMemory();
    expect(loaded(server)).toEqual([]);
  });

  it('goes when free memory falls below the floor, and no more than is needed', async () => {
    let available = () => 500 * MIB;
    await using server = await startLifecycle(repository('a', 'b', 'c'), {
      ...roomFor(3),
      floorBytes: 100 * MIB,
      readMemory: () => ({ totalBytes: 1000 * MIB, availableBytes: available() }),
    });
    for (const model of ['a', 'b', 'c']) await ask(server, model);
    await server.checkMemory();
    expect(server.evictions).toEqual([]);
    using lease = await server.lifecycle.registry.acquire(target('a'));
    available = () => 99 * MIB + server.evictions.length * WEIGHTS;
    await server.checkMemory();
    expect(server.evictions).toEqual(['b/1']);
    expect(lease.version.leases).toBe(1);
    expect(loaded(server)).toEqual(['a/1', 'c/1']);
    // Whoever it is that takes the memory: what is in use stays.
    available = () => 0;
    await server.checkMemory();
    expect(loaded(server)).toEqual(['a/1']);
  });

  it('goes by command, and the answer says what was freed', async () => {
    await using server = await startLifecycle(repository('a', 'b'), roomFor(2));
    await ask(server, 'a');
    await ask(server, 'b');
    {
      using _lease = await server.lifecycle.registry.acquire(target('b'));
      expect(await server.admin.cleanUp()).toEqual({ evicted: ['model a version 1'], freedBytes: WEIGHTS });
    }
    expect(loaded(server)).toEqual(['b/1']);
    await ask(server, 'a');
    expect(loaded(server)).toEqual(['a/1', 'b/1']);
  });
});
