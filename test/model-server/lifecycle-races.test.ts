import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import { eventually } from './eventually.ts';
import { expectConsistent } from './expect-consistent.ts';
import { addVersion, type Harness, startLifecycle, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';
import { hold, liveWorkers, opened, resetWorkers } from './watched-workers.ts';

vi.mock('../../model-server/executor/thread-channel.ts', async (original) =>
  (await import('./watched-workers.ts')).watched(await original()),
);
vi.mock('../../model-server/executor/process-channel.ts', async (original) =>
  (await import('./watched-workers.ts')).watched(await original()),
);

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  resetWorkers();
  for (const undo of cleanUp.splice(0).reverse()) await undo();
  expect(liveWorkers.size).toBe(0);
});

function repository(...models: string[]) {
  const folder = temporaryFolder();
  cleanUp.push(folder.remove);
  for (const name of models) writeTextModel(folder.path, name);
  return folder.path;
}

const isolate = (folder: string, model: string) =>
  writeFileSync(
    join(folder, model, 'config.pbtxt'),
    'parameters { key: "isolation" value: { string_value: "process" } }',
  );

const end = { truncate: 'end' } as const;
const lazy = { preload: new Set<string>() };
const ask = (server: Harness, model = 'm') => server.lifecycle.serving.embed(target(model), ['a text'], end);
const caught = (promise: Promise<unknown>) => promise.catch((error: unknown) => error);

describe('a start that takes its time', () => {
  it('does not keep what comes meanwhile from being seen', async () => {
    const folder = repository('m');
    const tasks: (() => void)[] = [];
    const after = (_: number, task: () => void) => {
      tasks.push(task);
      return () => undefined;
    };
    const held = hold('open', 'm');
    const starting = startLifecycle(folder, { after });
    await held.reached;
    writeTextModel(folder, 'n');
    for (let look = 0; look < 2; look++) {
      await vi.waitFor(() => expect(tasks.length).toBeGreaterThanOrEqual(2));
      for (const task of tasks.splice(0)) task();
    }
    await vi.waitFor(() => expect(tasks).toHaveLength(2));
    held.release();
    await using server = await starting;
    expect(server.lifecycle.registry.models.map(({ name }) => name)).toEqual(['m', 'n']);
  });
});

describe('a version that may not follow', () => {
  it('is not loaded by a request that comes while its files are read', async () => {
    const folder = repository('m');
    await using server = await startLifecycle(folder);
    addVersion(join(folder, 'm'), 2, { labels: 1 });
    const { lifecycle } = server;
    await server.look();
    const looking = server.look();
    const isPlaced = () => lifecycle.registry.model('m').versions.length === 2;
    while (!isPlaced()) await new Promise(setImmediate);
    const asked = await caught(lifecycle.registry.acquire(target('m', { version: 2, task: 'infer' })));
    await looking;
    expect(asked).toMatchObject({ message: expect.stringMatching(/version 2 can't embed/) });
    expect(server.states()).toEqual({ 'm/1': 'ready', 'm/2': 'failed' });
    expectConsistent(server);
    expect(await ask(server)).toMatchObject({ ref: { version: 1 } });
  });
});

describe('commands that race', () => {
  type Command = 'load' | 'unload';
  const orders: Command[][] = [
    ['load', 'load', 'unload'],
    ['load', 'unload', 'load'],
    ['unload', 'load', 'load'],
    ['load', 'unload', 'unload'],
    ['unload', 'load', 'unload'],
  ];
  const give = (server: Harness, command: Command) =>
    command === 'load' ? server.admin.load('m') : server.admin.unload('m');

  describe.each(['ready', 'unloaded'] as const)('for a model that is %s', (before) => {
    it.each(orders)('%s, %s, %s: the last one counts', async (...commands) => {
      const folder = repository('m');
      await using server = await startLifecycle(folder, before === 'ready' ? {} : lazy);
      await Promise.all(commands.map((command) => give(server, command)));
      const last = commands.at(-1);
      expect(server.states()).toEqual({ 'm/1': last === 'load' ? 'ready' : 'unloaded' });
      expectConsistent(server);
      const answer = await caught(ask(server));
      if (last === 'load') expect(answer).toMatchObject({ ref: { version: 1 } });
      else expect(answer).toMatchObject({ reason: 'MODEL_NOT_READY' });
    });
  });

  it('an unload while a command loads: the load is finished, and the model is unloaded', async () => {
    await using server = await startLifecycle(repository('m'), lazy);
    const held = hold('open', 'm');
    const loading = server.admin.load('m');
    await held.reached;
    const unloading = server.admin.unload('m');
    await expect(ask(server)).rejects.toMatchObject({ reason: 'MODEL_NOT_READY' });
    held.release();
    await Promise.all([loading, unloading]);
    expect(server.states()).toEqual({ 'm/1': 'unloaded' });
    expectConsistent(server);
  });

  it('an unload while a request loads: the request hears of it, and nothing stays loaded', async () => {
    await using server = await startLifecycle(repository('m'), lazy);
    const held = hold('open', 'm');
    const asked = caught(ask(server));
    await held.reached;
    const unloading = server.admin.unload('m');
    held.release();
    await unloading;
    const outcome = await asked;
    if (outcome instanceof ServingError) expect(outcome.reason).toBe('MODEL_NOT_READY');
    else expect(outcome).toMatchObject({ ref: { version: 1 } });
    expect(server.states()).toEqual({ 'm/1': 'unloaded' });
    expectConsistent(server);
  });

  it('an unload while requests are in flight: they are answered, later ones are refused', async () => {
    await using server = await startLifecycle(repository('m'));
    const held = hold('run', 'm');
    const running = Array.from({ length: 50 }, () => ask(server));
    await held.reached;
    const unloading = server.admin.unload('m');
    await expect(ask(server)).rejects.toMatchObject({ reason: 'MODEL_NOT_READY' });
    expect(server.states()).toEqual({ 'm/1': 'draining' });
    held.release();
    expect(await Promise.all(running)).toHaveLength(50);
    await unloading;
    expectConsistent(server);
  });

  it('a load while an unload waits for requests: they are answered by the old, and the model is loaded again', async () => {
    await using server = await startLifecycle(repository('m'));
    const held = hold('run', 'm');
    const running = ask(server);
    await held.reached;
    const commands = [server.admin.unload('m'), server.admin.load('m')];
    held.release();
    expect((await running).vectors).toHaveLength(1);
    await Promise.all(commands);
    expect(opened).toHaveLength(2);
    expect((await ask(server)).vectors).toHaveLength(1);
    expectConsistent(server);
  });

  it('a clean-up while the model loads leaves it alone', async () => {
    await using server = await startLifecycle(repository('m'), lazy);
    const held = hold('open', 'm');
    const asked = ask(server);
    await held.reached;
    expect(await server.admin.cleanUp()).toEqual({ evicted: [], freedBytes: 0 });
    held.release();
    expect((await asked).vectors).toHaveLength(1);
    expectConsistent(server);
  });

  it('a folder that goes while its model loads: the load ends, and nothing of it stays', async () => {
    const folder = repository('m', 'other');
    await using server = await startLifecycle(folder, lazy);
    const held = hold('open', 'm');
    const asked = caught(ask(server));
    await held.reached;
    rmSync(join(folder, 'm'), { recursive: true });
    for (let look = 0; look < 3; look++) await server.look();
    held.release();
    await asked;
    await eventually(() => expect(liveWorkers.size).toBe(0));
    expect(server.states()).toEqual({ 'other/1': 'unloaded' });
    await expect(ask(server)).rejects.toMatchObject({ reason: 'MODEL_NOT_FOUND' });
    expectConsistent(server);
  });
});

describe.each(['thread', 'process'] as const)('the end of the server, workers in a %s', (isolation) => {
  function models(...names: string[]) {
    const folder = repository(...names);
    if (isolation === 'process') for (const name of names) isolate(folder, name);
    return folder;
  }

  it('ends a load that would never end, and what waits for it', async () => {
    const server = await startLifecycle(models('m', 'n'), lazy);
    const held = hold('open', 'm');
    // The second one waits behind the first: they are measured one after the other.
    const asked = [caught(ask(server, 'm')), caught(ask(server, 'n'))];
    expect((await held.reached).isolation).toBe(isolation);
    await server.lifecycle.destroy();
    expect(liveWorkers.size).toBe(0);
    for (const outcome of await Promise.all(asked)) {
      expect(outcome).toMatchObject({ reason: 'SERVER_STOPPING', row: { retryable: true } });
    }
    expect(opened).toHaveLength(1);
    expect(server.admin.memory()[0]!.rows).toEqual([]);
  });

  it('ends the load of a new version that would take the place of one that serves', async () => {
    const folder = models('m');
    const server = await startLifecycle(folder);
    const held = hold('open', 'm');
    writeTextModel(folder, 'm', { seed: 2 });
    await server.look();
    const looking = server.look();
    await held.reached;
    expect((await ask(server)).vectors).toHaveLength(1);
    await server.lifecycle.destroy();
    expect(liveWorkers.size).toBe(0);
    await looking;
    expect(server.admin.memory()[0]!.rows).toEqual([]);
  });

  it('in order: finishes a load that is under way, and unloads it', async () => {
    const server = await startLifecycle(models('m'), lazy);
    const held = hold('open', 'm');
    const asked = caught(ask(server));
    await held.reached;
    const closing = server.lifecycle.close();
    held.release();
    await closing;
    await asked;
    expect(liveWorkers.size).toBe(0);
    expect(server.admin.memory()[0]!.rows).toEqual([]);
    await expect(server.admin.load('m')).rejects.toMatchObject({ reason: 'SERVER_STOPPING' });
    expect(opened).toHaveLength(1);
  });

  it('at once: fails what runs with a reason, also of a model whose folder has gone', async () => {
    const folder = models('m', 'gone');
    const server = await startLifecycle(folder);
    const held = [hold('run', 'm'), hold('run', 'gone')];
    const running = [caught(ask(server, 'm')), caught(ask(server, 'gone'))];
    await Promise.all(held.map(({ reached }) => reached));
    rmSync(join(folder, 'gone'), { recursive: true });
    for (let look = 0; look < 3; look++) await server.look();
    expect(liveWorkers.size).toBe(2);
    const ending = server.lifecycle.destroy();
    for (const { release } of held) release();
    await ending;
    expect(liveWorkers.size).toBe(0);
    for (const outcome of await Promise.all(running)) {
      expect(outcome).toMatchObject({ reason: 'SERVER_STOPPING' });
    }
  });
});
