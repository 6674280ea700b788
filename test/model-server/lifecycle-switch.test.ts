import { appendFileSync, cpSync, mkdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { addVersion, type Harness, keepAsking, startLifecycle, target } from './lifecycle-harness.ts';
import { textEncoder, writeTextModel, writeTinyTokenizer } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

const end = { truncate: 'end' } as const;

/** A repository with version 1 of model m, served. */
async function serving(options: Parameters<typeof startLifecycle>[1] = {}) {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  const folder = writeTextModel(path, 'm');
  const server = await startLifecycle(path, options);
  cleanUp.push(() => server[Symbol.asyncDispose]());
  return { path, folder, server };
}

const ask = async (server: Harness, version = 0) => {
  const { ref, vectors } = await server.lifecycle.serving.embed(target('m', { version }), ['hello'], end);
  return { version: ref.version, vector: vectors[0]! };
};
const reasonOf = (server: Harness, version: number) =>
  server.admin.list().find((report) => report.version === version)?.reason;

describe('a new version', () => {
  it('takes over while requests run: warm before the old one drains, and none fails', async () => {
    const { folder, server } = await serving();
    const traffic = keepAsking(server, 'm');
    await traffic.oneMoreRound();
    addVersion(folder, 2, { seed: 2 });
    await server.look();
    expect(reasonOf(server, 2)).toMatch(/just changed/);
    await server.look();
    await traffic.oneMoreRound();
    await vi.waitFor(() => expect(server.history).toContain('m/1 unloaded'));
    await traffic.stop();

    expect(traffic.failures).toEqual([]);
    const firstNew = traffic.versions.indexOf(2);
    expect(new Set(traffic.versions)).toEqual(new Set([1, 2]));
    // What was under way on version 1 may end after the first answer of version 2, but nothing begins there any more.
    expect(traffic.versions.slice(firstNew).filter((version) => version === 1).length).toBeLessThanOrEqual(4);
    expect(server.history).toEqual([
      'm/1 loading',
      'm/1 ready',
      'm/2 loading',
      'm/2 ready',
      'm/1 draining',
      'm/1 unloaded',
    ]);
    expect(server.states()).toEqual({ 'm/2': 'ready' });
    await expect(ask(server, 1)).rejects.toMatchObject({
      reason: 'VERSION_NOT_FOUND',
      message: expect.stringMatching(/no version 1; served are: 2/),
    });
  });

  it.each(['', 'parameters { key: "preload" value { string_value: "false" } }'])(
    'is loaded even where models wait for their first request, since the old one must not end before it is warm (%s)',
    async (config) => {
      const { path, remove } = temporaryFolder();
      cleanUp.push(remove);
      const folder = writeTextModel(path, 'm');
      writeFileSync(join(folder, 'config.pbtxt'), config);
      const server = await startLifecycle(path, { preload: new Set() });
      cleanUp.push(() => server[Symbol.asyncDispose]());
      await ask(server);
      addVersion(folder, 2);
      await server.settle();
      await vi.waitFor(() =>
        expect(server.history.slice(2)).toEqual(['m/2 loading', 'm/2 ready', 'm/1 draining', 'm/1 unloaded']),
      );
    },
  );

  it('that waits for its first request is not loaded because another is in use', async () => {
    const { path, remove } = temporaryFolder();
    cleanUp.push(remove);
    const folder = writeTextModel(path, 'm');
    addVersion(folder, 2);
    writeFileSync(join(folder, 'config.pbtxt'), 'version_policy { all {} }');
    const server = await startLifecycle(path, { preload: new Set() });
    cleanUp.push(() => server[Symbol.asyncDispose]());
    await ask(server, 1);
    await server.settle();
    expect(server.states()).toEqual({ 'm/1': 'ready', 'm/2': 'unloaded' });
  });

  it('is not loaded while nothing of the model has been asked for', async () => {
    const { folder, server } = await serving({ preload: new Set() });
    addVersion(folder, 2);
    await server.settle();
    await vi.waitFor(() => expect(server.states()).toEqual({ 'm/2': 'unloaded' }));
    expect((await ask(server)).version).toBe(2);
    expect(server.loads).toEqual(['m/2']);
  });
});

describe('a bad version', () => {
  const modelFile = (folder: string) => join(folder, '2', 'model.onnx');
  /** What is wrong, how it comes to be so, what the index says, and whether it is tried at all. */
  const faults: [string, (folder: string) => void, RegExp, (folder: string) => void][] = [
    [
      'a torn model file',
      (folder) => truncateSync(modelFile(folder), 3000),
      /model\.onnx is not a whole ONNX file: .* more than there are/,
      (folder) => writeFileSync(modelFile(folder), textEncoder({ seed: 2 })),
    ],
    [
      'an operator set that the runtime does not know',
      (folder) => writeFileSync(modelFile(folder), textEncoder({ opset: 999 })),
      /Opset 999/,
      (folder) => writeFileSync(modelFile(folder), textEncoder({ seed: 2 })),
    ],
    [
      'inputs of other names, so that it could not embed',
      (folder) => writeFileSync(modelFile(folder), textEncoder({ inputs: ['foo', 'bar'] })),
      /version 2 can't embed or rerank, which version 1 does/,
      (folder) => writeFileSync(modelFile(folder), textEncoder({ seed: 2 })),
    ],
    [
      'a torn tokenizer of its own',
      (folder) => writeFileSync(join(folder, '2', 'tokenizer.json'), '{"version": "1.0",'),
      /tokenizer\.json is not valid JSON/,
      (folder) => writeTinyTokenizer(join(folder, '2')),
    ],
    [
      'a checksum that does not agree',
      (folder) => writeFileSync(join(folder, '2', 'SHA256SUMS'), `${'0'.repeat(64)}  model.onnx\n`),
      /SHA256SUMS|sha256/,
      (folder) => rmSync(join(folder, '2', 'SHA256SUMS')),
    ],
  ];
  it.each(faults)('with %s leaves the old one serving, says why, and is tried once', async (...fault) => {
    const [, damage, why, repair] = fault;
    const { folder, server } = await serving();
    addVersion(folder, 2, { seed: 2 });
    damage(folder);
    await server.settle();
    expect((await ask(server)).version).toBe(1);
    expect(reasonOf(server, 2)).toMatch(why);
    const tried = server.history.length;
    await server.settle();
    expect(server.history).toHaveLength(tried);
    expect(server.states()['m/1']).toBe('ready');
    expect(server.lifecycle.registry.ready).toBe(true);

    repair(folder);
    await server.settle();
    expect((await ask(server)).version).toBe(2);
    await vi.waitFor(() => expect(server.states()).toEqual({ 'm/2': 'ready' }));
    expect(reasonOf(server, 2)).toBe('');
  });

  it('with a config that has an unknown field changes nothing of what is served', async () => {
    const { folder, server } = await serving();
    const config = join(folder, 'config.pbtxt');
    writeFileSync(config, 'version_policy { all {} }');
    await server.settle();
    addVersion(folder, 2, { seed: 2 });
    await server.settle();
    expect(server.states()).toMatchObject({ 'm/1': 'ready', 'm/2': 'ready' });
    appendFileSync(config, 'sequence_batching {}');
    addVersion(folder, 3);
    await server.settle();
    // The policy of the last config that could be read holds on.
    expect(server.states()).toMatchObject({ 'm/1': 'ready', 'm/2': 'ready', 'm/3': 'failed' });
    for (const version of [1, 2, 3]) expect(reasonOf(server, version)).toMatch(/sequence_batching/);
    const tried = server.history.length;
    await server.settle();
    expect(server.history).toHaveLength(tried);
    writeFileSync(config, 'version_policy { specific { versions: [2, 3] } }');
    await server.settle();
    await vi.waitFor(() => expect(server.states()).toEqual({ 'm/2': 'ready', 'm/3': 'ready' }));
    expect((await ask(server)).version).toBe(3);
  });

  it('that is there when the server starts does not keep an older one from serving', async () => {
    const { path, remove } = temporaryFolder();
    cleanUp.push(remove);
    const folder = writeTextModel(path, 'm');
    addVersion(folder, 2, { opset: 999 });
    addVersion(folder, 3, { opset: 999 });
    await using server = await startLifecycle(path);
    expect(server.failures).toHaveLength(2);
    expect((await ask(server)).version).toBe(1);
    expect(server.lifecycle.registry.ready).toBe(true);
    expect(server.admin.list().map(({ version, served }) => [version, served])).toEqual([
      [1, true],
      [2, false],
      [3, true],
    ]);
    const tried = server.history.length;
    await server.settle();
    expect(server.history).toHaveLength(tried);
    // It stands in after an unload too.
    await server.admin.unload('m', 1);
    expect((await ask(server)).version).toBe(1);
    writeFileSync(join(folder, '3', 'model.onnx'), textEncoder());
    await server.settle();
    expect((await ask(server)).version).toBe(3);
  });

  it('that can do less takes over when an operator loads it', async () => {
    const { folder, server } = await serving();
    addVersion(folder, 2, { inputs: ['foo', 'bar'] });
    await server.settle();
    expect(reasonOf(server, 2)).toMatch(/nereid models load m/);
    await server.admin.load('m');
    await expect(ask(server)).rejects.toMatchObject({ reason: 'TASK_NOT_SUPPORTED' });
    await server.settle();
    expect(server.states()['m/2']).toBe('ready');
  });
});

describe('changed files of the version that serves', () => {
  it('take over when they are warm, while requests run', async () => {
    const { folder, server } = await serving();
    const before = await ask(server);
    const traffic = keepAsking(server, 'm');
    await traffic.oneMoreRound();
    // Beside and into place, as a careful writer does.
    mkdirSync(join(folder, '.new'));
    writeFileSync(join(folder, '.new', 'model.onnx'), textEncoder({ seed: 2 }));
    renameSync(join(folder, '.new', 'model.onnx'), join(folder, '1', 'model.onnx'));
    await server.settle();
    await traffic.oneMoreRound();
    await traffic.stop();
    expect(traffic.failures).toEqual([]);
    const after = await ask(server);
    expect(after.version).toBe(1);
    expect(after.vector).not.toEqual(before.vector);
    expect(server.history.slice(0, 4)).toEqual(['m/1 loading', 'm/1 ready', 'm/1 loading', 'm/1 ready']);
    await vi.waitFor(() => expect(server.history.slice(4)).toEqual(['m/1 draining', 'm/1 unloaded']));
  });

  it('are told apart from the old ones that still finish', async () => {
    const { folder, server } = await serving();
    const old = await server.lifecycle.registry.acquire(target('m'));
    writeFileSync(join(folder, '1', 'model.onnx'), textEncoder({ seed: 2, weightBytes: 2 ** 20 }));
    await server.settle();
    const shown = await server.admin.show('m', 1);
    const leases = (state: string) => shown.find((details) => details.state === state)?.memory?.leases;
    expect([leases('ready'), leases('draining')]).toEqual([0, 1]);
    expect(new Set(shown.map(({ space }) => space)).size).toBe(2);
    old[Symbol.dispose]();
  });

  const faults: [string, (folder: string) => void, RegExp][] = [
    [
      'an opset that the runtime does not know',
      (folder) => writeFileSync(join(folder, '1', 'model.onnx'), textEncoder({ opset: 999 })),
      /its files have changed and can't be used: .*Opset 999/,
    ],
    [
      'a torn model file',
      (folder) => truncateSync(join(folder, '1', 'model.onnx'), 3000),
      /its folder is not complete: model\.onnx is /,
    ],
    ['a missing model file', (folder) => rmSync(join(folder, '1', 'model.onnx')), /model\.onnx is missing/],
    [
      'no tokenizer any more',
      (folder) => rmSync(join(folder, 'tokenizer.json')),
      /tokenizer\.json is missing/,
    ],
    [
      'inputs of other names',
      (folder) => writeFileSync(join(folder, '1', 'model.onnx'), textEncoder({ inputs: ['foo', 'bar'] })),
      /can't embed or rerank, which version 1 does/,
    ],
    [
      'a broken config',
      (folder) => writeFileSync(join(folder, 'config.pbtxt'), 'max_batch_size: {'),
      /config\.pbtxt: line 1/,
    ],
  ];
  it.each(faults)('that are %s leave it serving as it was', async (_, damage, why) => {
    const { path, folder, server } = await serving();
    const before = await ask(server);
    cpSync(folder, join(path, '.aside'), { recursive: true, preserveTimestamps: true });
    damage(folder);
    await server.settle();
    expect(await ask(server)).toEqual(before);
    expect(reasonOf(server, 1)).toMatch(why);
    const tried = server.history.length;
    await server.settle();
    expect(server.history).toHaveLength(tried);
    // Once the old files are back, nothing is said of the others any more.
    cpSync(join(path, '.aside'), folder, { recursive: true });
    rmSync(join(folder, 'config.pbtxt'), { force: true });
    await server.settle();
    expect(await ask(server)).toEqual(before);
    expect(reasonOf(server, 1)).toBe('');
  });
});
