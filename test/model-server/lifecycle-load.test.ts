import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { eventually } from './eventually.ts';
import { startLifecycle, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';
import { hold, killAt, liveWorkers, opened, resetWorkers } from './watched-workers.ts';

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
  const folder = temporaryFolder();
  cleanUp.push(folder.remove);
  for (const name of models) writeTextModel(folder.path, name);
  return folder.path;
}

function configure(folder: string, model: string, parameters: Record<string, string>): void {
  const entries = Object.entries(parameters).map(
    ([key, value]) => `parameters { key: "${key}" value: { string_value: "${value}" } }\n`,
  );
  writeFileSync(join(folder, model, 'config.pbtxt'), entries.join(''));
}

const end = { truncate: 'end' } as const;
const lazy = { preload: new Set<string>() };

describe('a lazy model', () => {
  it('is loaded once by a hundred first requests at the same time', async () => {
    await using server = await startLifecycle(repository('m'), lazy);
    expect(server.states()).toEqual({ 'm/1': 'unloaded' });
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => server.lifecycle.serving.embed(target('m'), [`text ${i}`], end)),
    );
    expect(answers).toHaveLength(100);
    expect(server.loads).toEqual(['m/1']);
    expect(opened).toHaveLength(1);
  });

  it('goes on loading for the others when one of those that wait goes away', async () => {
    await using server = await startLifecycle(repository('m'), lazy);
    const { serving } = server.lifecycle;
    const held = hold('open', 'm');
    const leaving = new AbortController();
    const gone = serving.embed(target('m'), ['a'], { ...end, signal: leaving.signal });
    const staying = serving.embed(target('m'), ['b'], end);
    await held.reached;
    // Its first request is no reason to take the whole server out of service.
    expect(server.lifecycle.registry.ready).toBe(true);
    leaving.abort(new Error('the client has gone'));
    await expect(gone).rejects.toThrow('the client has gone');
    expect(server.states()).toEqual({ 'm/1': 'loading' });
    held.release();
    expect((await staying).vectors).toHaveLength(1);
    expect(server.loads).toEqual(['m/1']);
  });

  it('loads to its end even when the only one that waited goes away, and serves the next at once', async () => {
    await using server = await startLifecycle(repository('m'), lazy);
    const held = hold('open', 'm');
    const leaving = new AbortController();
    const gone = server.lifecycle.serving.embed(target('m'), ['a'], { ...end, signal: leaving.signal });
    await held.reached;
    leaving.abort(new Error('the client has gone'));
    await expect(gone).rejects.toThrow('the client has gone');
    held.release();
    await eventually(() => expect(server.states()).toEqual({ 'm/1': 'ready' }));
    await server.lifecycle.serving.embed(target('m'), ['b'], end);
    expect(opened).toHaveLength(1);
  });

  it('a request that was given up before it began loads nothing', async () => {
    await using server = await startLifecycle(repository('m'), lazy);
    const signal = AbortSignal.abort(new Error('too late'));
    const asked = server.lifecycle.serving.embed(target('m'), ['a'], { ...end, signal });
    await expect(asked).rejects.toThrow('too late');
    expect(server.states()).toEqual({ 'm/1': 'unloaded' });
    expect(opened).toEqual([]);
  });

  it('that can not be loaded fails all that wait with the reason, and is not tried again by each request', async () => {
    await using server = await startLifecycle(repository('m'), lazy);
    const { serving } = server.lifecycle;
    killAt('open', 'm');
    const waiting = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => serving.embed(target('m'), [`text ${i}`], end)),
    );
    for (const outcome of waiting) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { reason: 'MODEL_LOAD_FAILED', message: expect.stringMatching(/model m version 1.*died/) },
      });
    }
    for (let i = 0; i < 3; i++) {
      await expect(serving.embed(target('m'), ['again'], end)).rejects.toMatchObject({
        reason: 'MODEL_NOT_READY',
        message: expect.stringMatching(/model m version 1.*died/),
      });
    }
    expect(opened).toHaveLength(1);
    expect(server.admin.list()).toMatchObject([{ state: 'failed', reason: expect.stringContaining('died') }]);
    await server.admin.load('m');
    expect((await serving.embed(target('m'), ['now'], end)).vectors).toHaveLength(1);
    expect(opened).toHaveLength(2);
  });
});

describe('what is loaded at the start', () => {
  it('is what the preload list names; the rest comes with its first request', async () => {
    await using server = await startLifecycle(repository('a', 'b', 'c'), { preload: new Set(['b']) });
    expect(server.states()).toEqual({ 'a/1': 'unloaded', 'b/1': 'ready', 'c/1': 'unloaded' });
    expect(server.lifecycle.registry.ready).toBe(true);
    await server.lifecycle.serving.embed(target('c'), ['x'], end);
    expect(server.loads).toEqual(['b/1', 'c/1']);
  });

  it('keeps the server from being ready while it is loaded', async () => {
    const folder = repository('a');
    await using server = await startLifecycle(folder);
    writeTextModel(folder, 'b');
    // Files count as finished when they are the same at two looks.
    await server.look();
    const held = hold('open', 'b');
    const looking = server.look();
    await held.reached;
    expect(server.lifecycle.registry.ready).toBe(false);
    held.release();
    await looking;
    expect(server.lifecycle.registry.ready).toBe(true);
  });

  it('is what a model says of itself, whatever the list says', async () => {
    const folder = repository('eager', 'late', 'other');
    configure(folder, 'eager', { preload: 'true' });
    configure(folder, 'late', { preload: 'false' });
    await using none = await startLifecycle(folder, lazy);
    expect(none.states()).toEqual({ 'eager/1': 'ready', 'late/1': 'unloaded', 'other/1': 'unloaded' });
    await using all = await startLifecycle(folder, { preload: 'all' });
    expect(all.states()).toEqual({ 'eager/1': 'ready', 'late/1': 'unloaded', 'other/1': 'ready' });
  });

  it('is in explicit mode what is named; the rest is refused until it is loaded by command', async () => {
    await using server = await startLifecycle(repository('a', 'b'), {
      mode: 'explicit',
      loadModels: new Set(['a']),
    });
    expect(server.states()).toEqual({ 'a/1': 'ready', 'b/1': 'unloaded' });
    const { serving } = server.lifecycle;
    await expect(serving.embed(target('b'), ['x'], end)).rejects.toMatchObject({
      reason: 'MODEL_NOT_READY',
      message: expect.stringContaining('nereid models load b'),
    });
    await server.admin.load('b');
    expect((await serving.embed(target('b'), ['x'], end)).ref).toMatchObject({ name: 'b', version: 1 });
  });

  it('one that fails does not stop the others', async () => {
    const folder = repository('bad', 'good');
    writeTextModel(folder, 'bad', { opset: 99 });
    await using server = await startLifecycle(folder);
    expect(server.failures).toMatchObject([{ reason: 'MODEL_LOAD_FAILED' }]);
    expect(server.states()).toEqual({ 'bad/1': 'failed', 'good/1': 'ready' });
    expect(server.lifecycle.registry.ready).toBe(false);
  });
});
