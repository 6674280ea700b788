import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { LoadOverride } from '../../model-server/models/admin.ts';
import type { VersionHost } from '../../model-server/models/host.ts';
import { Registry } from '../../model-server/models/registry.ts';
import { RepositoryWatch } from '../../model-server/models/repository/watch.ts';
import { addVersion, type Harness, startLifecycle, target } from './lifecycle-harness.ts';
import { textEncoder, writeTensorModel, writeTextModel } from './onnx-writer.ts';
import { fp32 } from './raw-tensors.ts';
import { temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

const end = { truncate: 'end' } as const;

function repository(...models: string[]) {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  for (const name of models) writeTextModel(path, name);
  return path;
}

async function start(path: string, options: Parameters<typeof startLifecycle>[1] = {}) {
  const server = await startLifecycle(path, options);
  cleanUp.push(() => server[Symbol.asyncDispose]());
  return server;
}

const ask = async (server: Harness, model: string, version = 0) =>
  (await server.lifecycle.serving.embed(target(model, { version }), ['hello'], end)).ref.version;

/** Timers that a test fires by hand. */
function manualTimers() {
  const waiting = new Set<() => void>();
  return {
    after: (_: number, task: () => void) => {
      waiting.add(task);
      return () => waiting.delete(task);
    },
    /** Fires all that wait, and resolves when as many wait again: when their work is done. */
    async fire() {
      const due = [...waiting];
      waiting.clear();
      for (const task of due) task();
      await vi.waitFor(() => expect(waiting.size).toBe(due.length));
    },
  };
}

describe('control mode', () => {
  it.each([
    ['none', { 'm/1': 'ready' }],
    ['explicit', { 'm/1': 'ready' }],
    ['poll', { 'm/2': 'ready', 'n/1': 'ready' }],
  ] as const)('%s: from time to time', async (mode, states) => {
    const path = repository('m');
    const timers = manualTimers();
    const server = await start(path, { mode, loadModels: 'all', after: timers.after });
    addVersion(join(path, 'm'), 2);
    writeTextModel(path, 'n');
    for (let look = 0; look < 3; look++) await timers.fire();
    await vi.waitFor(() => expect(server.states()).toEqual(states));
  });

  it('poll goes on after a look that failed, and everything stays as it is meanwhile', async () => {
    const path = repository('m');
    const timers = manualTimers();
    const server = await start(path, { after: timers.after });
    rmSync(path, { recursive: true });
    await timers.fire();
    await timers.fire();
    expect(await ask(server, 'm')).toBe(1);
    writeTextModel(path, 'm');
    writeTextModel(path, 'n');
    for (let look = 0; look < 3; look++) await timers.fire();
    await vi.waitFor(() => expect(server.states()).toEqual({ 'm/1': 'ready', 'n/1': 'ready' }));
  });

  it('says "not ready" to who asks before the repository has been read', async () => {
    const path = repository();
    const options = { mode: 'poll', loadModels: new Set<string>(), preload: 'all' } as const;
    const log = pino({ level: 'silent' });
    const host = { log } as VersionHost;
    const registry = new Registry({ ...options, watch: new RepositoryWatch(path), host, log });
    for (const model of ['m', ''])
      await expect(registry.acquire(target(model))).rejects.toMatchObject({ reason: 'MODEL_NOT_READY' });
    await registry.look();
    for (const model of ['m', ''])
      await expect(registry.acquire(target(model))).rejects.toMatchObject({ reason: 'MODEL_NOT_FOUND' });
  });

  it('explicit serves nothing by itself, and tells what it was to load and is not there', async () => {
    const path = repository('m', 'n');
    const server = await start(path, { mode: 'explicit', loadModels: new Set(['n', 'other']) });
    expect(server.failures).toMatchObject([
      { reason: 'MODEL_NOT_FOUND', message: expect.stringMatching(/no model "other".*it has m, n/) },
    ]);
    expect(server.states()).toEqual({ 'm/1': 'unloaded', 'n/1': 'ready' });
    await expect(ask(server, 'm')).rejects.toMatchObject({
      reason: 'MODEL_NOT_READY',
      message: 'model m is unloaded. Load it with: nereid models load m',
    });
    await server.admin.load('m');
    expect(await ask(server, 'm')).toBe(1);
  });

  it('explicit loads what came into the repository after the start', async () => {
    const path = repository();
    const server = await start(path, { mode: 'explicit' });
    writeTextModel(path, 'm');
    expect(await server.admin.load('m')).toMatchObject([{ name: 'm', version: 1, state: 'ready' }]);
    addVersion(join(path, 'm'), 2);
    expect((await server.admin.load('m')).map(({ version }) => version)).toContain(2);
    expect(await ask(server, 'm')).toBe(2);
  });
});

describe('commands', () => {
  it('unload until they load again; the model is known meanwhile', async () => {
    const server = await start(repository('m'));
    expect(await server.admin.unload('m')).toMatchObject([
      { version: 1, state: 'unloaded', reason: 'unloaded by command' },
    ]);
    await expect(ask(server, 'm')).rejects.toMatchObject({ reason: 'MODEL_NOT_READY' });
    await server.settle();
    expect(server.states()).toEqual({ 'm/1': 'unloaded' });
    // An operator wants it so, which is no fault.
    expect(server.lifecycle.registry.ready).toBe(true);
    await server.admin.load('m');
    expect(await ask(server, 'm')).toBe(1);
    expect(server.loads).toEqual(['m/1', 'm/1']);
  });

  it('unload one version, which the next request for it loads again', async () => {
    const path = repository('m');
    writeFileSync(join(path, 'm', 'config.pbtxt'), 'version_policy { all {} }');
    addVersion(join(path, 'm'), 2);
    const server = await start(path);
    await server.admin.unload('m', 2);
    expect(server.states()).toEqual({ 'm/1': 'ready', 'm/2': 'unloaded' });
    await expect(server.admin.unload('m', 3)).rejects.toMatchObject({ reason: 'VERSION_NOT_FOUND' });
    expect(await ask(server, 'm')).toBe(2);
  });

  it('drain a model and resume it, without unloading it', async () => {
    const server = await start(repository('m', 'n'));
    const running = await server.lifecycle.registry.acquire(target('m'));
    server.admin.drain('m', false);
    await expect(ask(server, 'm')).rejects.toMatchObject({ reason: 'MODEL_DRAINING' });
    expect(running.version.state).toBe('ready');
    running[Symbol.dispose]();
    expect(await ask(server, 'n')).toBe(1);
    expect(server.admin.readiness().ready).toBe(false);
    server.admin.drain('m', true);
    expect(await ask(server, 'm')).toBe(1);
    expect(server.admin.readiness().ready).toBe(true);
    expect(server.loads.sort()).toEqual(['m/1', 'n/1']);
  });

  it.each(['load', 'unload', 'drain', 'show'] as const)('%s: an unknown model is told', async (command) => {
    const server = await start(repository('m'));
    await expect(async () => server.admin[command]('x', undefined as never)).rejects.toMatchObject({
      reason: 'MODEL_NOT_FOUND',
      message: expect.stringMatching(/no model "x".*it has m/),
    });
  });

  it('load what has failed once its fault is mended, or in vain', async () => {
    const path = repository('m');
    const file = join(path, 'm', '1', 'model.onnx');
    writeFileSync(file, textEncoder({ opset: 999 }));
    const server = await start(path);
    expect(server.failures).toHaveLength(1);
    await expect(server.admin.load('m')).rejects.toMatchObject({ reason: 'MODEL_LOAD_FAILED' });
    expect(server.states()).toEqual({ 'm/1': 'failed' });
    // Each command tries again; looks do not.
    expect(server.history.filter((change) => change === 'm/1 loading')).toHaveLength(2);
    writeFileSync(file, textEncoder());
    await server.admin.load('m');
    expect(await ask(server, 'm')).toBe(1);
  });

  it('a mended model is shown loading, and requests wait for it', async () => {
    const path = repository('m');
    const file = join(path, 'm', '1', 'model.onnx');
    writeFileSync(file, textEncoder({ opset: 999 }));
    const server = await start(path);
    writeFileSync(file, textEncoder());
    await server.look();
    const looking = server.look();
    await vi.waitFor(() => expect(server.history.at(-1)).toBe('m/1 loading'));
    expect(server.states()).toEqual({ 'm/1': 'loading' });
    expect(await ask(server, 'm')).toBe(1);
    await looking;
  });

  it('load of a model whose folder is gone is refused, and what is loaded stays', async () => {
    const path = repository('m');
    const server = await start(path, { mode: 'explicit', loadModels: 'all' });
    rmSync(join(path, 'm'), { recursive: true });
    await expect(server.admin.load('m')).rejects.toMatchObject({
      reason: 'MODEL_NOT_FOUND',
      message: expect.stringMatching(/folder of model m is gone/),
    });
    expect(await ask(server, 'm')).toBe(1);
  });

  it('load of what is incomplete says what is missing, and leaves what serves', async () => {
    const path = repository('m');
    const server = await start(path);
    truncateSync(join(path, 'm', '1', 'model.onnx'), 3000);
    const [report] = await server.admin.load('m').catch((error) => [{ reason: error.message }]);
    expect(report!.reason).toMatch(/model\.onnx is not a whole ONNX file/);
    expect(await ask(server, 'm')).toBe(1);
    writeTextModel(path, 'n');
    truncateSync(join(path, 'n', '1', 'model.onnx'), 3000);
    await expect(server.admin.load('n')).rejects.toMatchObject({
      reason: 'MODEL_NOT_READY',
      message: expect.stringMatching(/model\.onnx is not a whole ONNX file/),
    });
  });
});

describe('a load that brings a configuration', () => {
  const tensorConfig = (fields: string) =>
    `{"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}],
      "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [4]}]${fields}}`;
  const infer = (server: Harness, rows: number) =>
    server.lifecycle.serving.infer(
      target('m', { task: 'infer' }),
      { inputs: [fp32('x', [rows, 4], new Array<number>(rows * 4).fill(1))], outputs: [] },
      {},
    );

  it('is served with that until the next load', async () => {
    const path = repository();
    const folder = writeTensorModel(path, 'm', { parts: ['FP32'] });
    addVersion(folder, 2);
    writeTensorModel(path, 'm', { parts: ['FP32'], version: 2 });
    const server = await start(path);
    expect((await infer(server, 3)).ref.version).toBe(2);
    const config = tensorConfig(', "max_batch_size": 2, "version_policy": {"specific": {"versions": [1]}}');
    await server.admin.load('m', { config });
    expect((await infer(server, 2)).ref.version).toBe(1);
    await expect(infer(server, 3)).rejects.toMatchObject({ reason: 'BATCH_TOO_LARGE' });
    const [shown] = await server.admin.show('m', 1);
    expect(shown!.effectiveConfig).toContainEqual({
      field: 'max_batch_size',
      value: '2',
      source: 'load request max_batch_size',
    });
    await server.settle();
    await expect(infer(server, 3)).rejects.toMatchObject({ reason: 'BATCH_TOO_LARGE' });
    expect((await infer(server, 2)).ref.version).toBe(1);
    await server.admin.load('m');
    expect((await infer(server, 3)).ref.version).toBe(2);
  });

  it.each([
    ['that is no JSON', 'max_batch_size: 2', /load request: .*JSON/],
    ['with an unknown field', '{"max_batchsize": 2}', /max_batchsize/],
    ['of other tensors', '{"input": [{"name": "q", "data_type": "TYPE_FP32", "dims": [4]}]}', /"q"/],
  ])('%s is refused, and what serves stays', async (_, config, why) => {
    const path = repository();
    writeTensorModel(path, 'm', { parts: ['FP32'] });
    const server = await start(path);
    await expect(server.admin.load('m', { config })).rejects.toMatchObject({
      reason: 'MODEL_CONFIG_INVALID',
      message: expect.stringMatching(why),
    });
    expect((await infer(server, 3)).outputs).toHaveLength(1);
    // Nor does it stand in for the configuration of what comes later.
    writeTensorModel(path, 'm', { parts: ['FP32'], version: 2 });
    await server.settle();
    expect((await infer(server, 3)).ref.version).toBe(2);
  });
});

describe('a load that brings files', () => {
  const files = (version: number, seed: number): LoadOverride => ({
    files: new Map([[`${version}/model.onnx`, textEncoder({ seed })], ...tokenizer()]),
  });
  const tokenizer = () => {
    const { path, remove } = temporaryFolder();
    const folder = writeTextModel(path, 't');
    const read = ['tokenizer.json', 'tokenizer_config.json'].map(
      (name) => [name, readFileSync(join(folder, name))] as const,
    );
    remove();
    return read;
  };

  it('is served from these, whatever the repository says, until the next load', async () => {
    const path = repository('m');
    const server = await start(path);
    await server.admin.load('m', files(7, 3));
    expect(await ask(server, 'm')).toBe(7);
    addVersion(join(path, 'm'), 9);
    await server.settle();
    expect(await ask(server, 'm')).toBe(7);
    await server.admin.load('m', files(8, 4));
    expect(await ask(server, 'm')).toBe(8);
    await server.admin.load('m');
    expect(await ask(server, 'm')).toBe(9);
  });

  it('takes part in a rollout like any other', async () => {
    const server = await start(repository('m'));
    const both = new Map([...files(1, 3).files!, ...files(2, 3).files!]);
    await server.admin.load('m', { files: both });
    await vi.waitFor(() => expect(server.states()).toEqual({ 'm/2': 'ready' }));
    await server.admin.setTraffic('m', { alias: 'old', weights: { 1: 1 }, makeDefault: false });
    await vi.waitFor(() => expect(server.states()).toEqual({ 'm/1': 'ready', 'm/2': 'ready' }));
  });

  it('makes a model that the repository does not have', async () => {
    const server = await start(repository('m'));
    expect(await server.admin.load('new', files(1, 3))).toMatchObject([{ name: 'new', state: 'ready' }]);
    await server.admin.unload('new');
    await server.settle();
    // It is nowhere else.
    expect(await server.admin.load('new')).toMatchObject([{ name: 'new', state: 'ready' }]);
    await server.settle();
    expect(await ask(server, 'new')).toBe(1);
    await server.settle();
    expect(await ask(server, 'new')).toBe(1);
    await server.admin.unload('new');
    expect(await ask(server, 'm')).toBe(1);
  });

  it.each([
    ['../n/1/model.onnx', /leaves the model's folder/],
    ['/1/model.onnx', /leaves the model's folder/],
    ['model.onnx', /no version came along/],
  ])('%s is refused, and what serves stays', async (name, why) => {
    const server = await start(repository('m'));
    const override = { files: new Map([[name, textEncoder()]]) };
    await expect(server.admin.load('m', override)).rejects.toMatchObject({
      reason: 'INVALID_INPUT',
      message: expect.stringMatching(why),
    });
    expect(await ask(server, 'm')).toBe(1);
  });

  it('that can not be loaded are refused, and the repository counts as before', async () => {
    const path = repository('m');
    const server = await start(path);
    await server.admin.load('m', files(5, 3));
    const override = { files: new Map([['6/model.onnx', textEncoder({ opset: 999 })], ...tokenizer()]) };
    await expect(server.admin.load('m', override)).rejects.toMatchObject({ reason: 'MODEL_LOAD_FAILED' });
    expect(await ask(server, 'm')).toBe(5);
    // The files of the earlier load are still there to be loaded again.
    await server.admin.unload('m', 5);
    expect(await ask(server, 'm')).toBe(5);
    await server.admin.load('m');
    await expect(server.admin.load('m', override)).rejects.toMatchObject({ reason: 'MODEL_LOAD_FAILED' });
    addVersion(join(path, 'm'), 2);
    await server.settle();
    expect(await ask(server, 'm')).toBe(2);
  });

  it('that are torn are refused, and what serves stays', async () => {
    const server = await start(repository('m'));
    const override = { files: new Map([['2/model.onnx', textEncoder().subarray(0, 3000)]]) };
    await expect(server.admin.load('m', override)).rejects.toMatchObject({ reason: 'INVALID_INPUT' });
    expect(await ask(server, 'm')).toBe(1);
  });
});
