import { cpSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { addVersion, type Harness, keepAsking, startLifecycle, target } from './lifecycle-harness.ts';
import { textEncoder, writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

const end = { truncate: 'end' } as const;

/** Model m in a repository of its own, with these versions and this config. */
function repository(versions: readonly number[], config = '') {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  const folder = writeTextModel(path, 'm', { version: versions[0]! });
  for (const version of versions.slice(1)) addVersion(folder, version, { seed: version });
  if (config !== '') writeFileSync(join(folder, 'config.pbtxt'), config);
  return { path, folder };
}

async function start(path: string, options: Parameters<typeof startLifecycle>[1] = {}) {
  const server = await startLifecycle(path, options);
  cleanUp.push(() => server[Symbol.asyncDispose]());
  return server;
}

const ask = async (server: Harness, version = 0) =>
  (await server.lifecycle.serving.embed(target('m', { version }), ['hello'], end)).ref.version;

const all = 'version_policy { all {} }';

describe('the version policy', () => {
  it.each([
    ['', [10]],
    ['version_policy { latest {} }', [10]],
    ['version_policy { latest { num_versions: 2 } }', [4, 10]],
    [all, [1, 2, 4, 10]],
    ['version_policy { specific { versions: [1, 4, 7] } }', [1, 4]],
  ])('"%s" serves %j', async (config, served) => {
    const { path } = repository([1, 2, 4, 10], config);
    const server = await start(path, { preload: new Set() });
    expect(server.admin.list().map(({ version }) => version)).toEqual(served);
    expect(await ask(server)).toBe(served.at(-1));
    for (const version of served) expect(await ask(server, version)).toBe(version);
    await expect(ask(server, 3)).rejects.toMatchObject({
      reason: 'VERSION_NOT_FOUND',
      message: `model m has no version 3; served are: ${served.join(', ')}.`,
    });
  });

  it('that leaves nothing to serve is told', async () => {
    const { path } = repository([1, 2], 'version_policy { specific { versions: [7] } }');
    const server = await start(path);
    expect(server.lifecycle.registry.ready).toBe(false);
    await expect(ask(server)).rejects.toMatchObject({
      reason: 'MODEL_NOT_READY',
      message: expect.stringMatching(/specific 7.*versions \(1, 2\)/),
    });
    expect(server.failures).toMatchObject([{ message: expect.stringMatching(/specific 7/) }]);
  });

  it('moves on with new versions, and back when they go', async () => {
    const { path, folder } = repository([1, 2], 'version_policy { latest { num_versions: 2 } }');
    const server = await start(path);
    addVersion(folder, 3);
    await server.settle();
    await vi.waitFor(() => expect(server.states()).toEqual({ 'm/2': 'ready', 'm/3': 'ready' }));
    rmSync(join(folder, '3'), { recursive: true });
    await server.settle();
    await vi.waitFor(() => expect(server.states()).toEqual({ 'm/1': 'ready', 'm/2': 'ready' }));
  });

  it('does not keep versions that rollout.yaml names from being served', async () => {
    const { path, folder } = repository([1, 2, 3]);
    const plan = 'aliases:\n  stable: { 1: 100 }\n  next: { 3: 100 }\n';
    writeFileSync(join(folder, 'rollout.yaml'), plan);
    const server = await start(path);
    expect(server.admin.rolloutStatus('m').problem).toBe('');
    expect(server.states()).toEqual({ 'm/1': 'ready', 'm/3': 'ready' });
    const { serving } = server.lifecycle;
    const { ref } = await serving.embed(target('m', { alias: 'stable' }), ['a'], end);
    expect(ref.version).toBe(1);
    rmSync(join(folder, 'rollout.yaml'));
    await server.lifecycle.registry.reloadRollouts();
    await server.look();
    await vi.waitFor(() => expect(server.states()).toEqual({ 'm/3': 'ready' }));
  });
});

describe('a version that is deleted while it serves', () => {
  it('finishes what it has begun, and the others go on without a failure', async () => {
    const { path, folder } = repository([1, 2], all);
    const server = await start(path);
    const traffic = keepAsking(server, 'm');
    await traffic.oneMoreRound();
    const running = await server.lifecycle.registry.acquire(target('m', { version: 2 }));
    rmSync(join(folder, '2'), { recursive: true });
    await server.look();
    // Somebody may just be replacing it.
    expect(await ask(server, 2)).toBe(2);
    await server.look();
    await expect(ask(server, 2)).rejects.toMatchObject({
      reason: 'VERSION_NOT_FOUND',
      message: expect.stringMatching(/served are: 1\./),
    });
    await traffic.oneMoreRound();
    await traffic.stop();
    expect(traffic.failures).toEqual([]);
    expect(new Set(traffic.versions)).toEqual(new Set([2, 1]));
    expect(server.states()).toEqual({ 'm/1': 'ready', 'm/2': 'draining' });
    expect(running.version.state).toBe('draining');
    running[Symbol.dispose]();
    await vi.waitFor(() => expect(server.states()).toEqual({ 'm/1': 'ready' }));
  });

  it('goes only when the one that takes its place is warm', async () => {
    const { path, folder } = repository([1, 2]);
    const server = await start(path);
    const traffic = keepAsking(server, 'm');
    await traffic.oneMoreRound();
    rmSync(join(folder, '2'), { recursive: true });
    await server.settle();
    await traffic.oneMoreRound();
    await traffic.stop();
    expect(traffic.failures).toEqual([]);
    expect(server.history.slice(0, 5)).toEqual([
      'm/2 loading',
      'm/2 ready',
      'm/1 loading',
      'm/1 ready',
      'm/2 draining',
    ]);
  });
});

it('when the newest version is deleted and the one before it is bad, the next one is warm before it goes', async () => {
  const { path, folder } = repository([1, 3]);
  const server = await start(path);
  const traffic = keepAsking(server, 'm');
  await traffic.oneMoreRound();
  addVersion(folder, 2, { opset: 999 });
  await server.settle();
  rmSync(join(folder, '3'), { recursive: true });
  await server.settle();
  await traffic.oneMoreRound();
  await traffic.stop();
  expect(traffic.failures).toEqual([]);
  expect(await ask(server)).toBe(1);
  await vi.waitFor(() => expect(server.states()).toEqual({ 'm/1': 'ready', 'm/2': 'failed' }));
});

describe('a model whose folder is deleted while it serves', () => {
  it('finishes what it has begun and is gone, with its memory', async () => {
    const { path, folder } = repository([1]);
    writeTextModel(path, 'n');
    const server = await start(path);
    const running = await server.lifecycle.registry.acquire(target('m'));
    rmSync(folder, { recursive: true });
    await server.look();
    expect(await ask(server)).toBe(1);
    await server.look();
    await expect(ask(server)).rejects.toMatchObject({
      reason: 'MODEL_NOT_FOUND',
      message: expect.stringMatching(/it has n\./),
    });
    expect(running.version.state).toBe('draining');
    expect(server.admin.memory()[0]!.rows).toHaveLength(2);
    running[Symbol.dispose]();
    await vi.waitFor(() => expect(server.admin.memory()[0]!.rows).toHaveLength(1));
    expect(server.lifecycle.registry.ready).toBe(true);
  });

  it.each(['between two looks', 'for one look'])('is not noticed when it comes back %s', async (when) => {
    const { path, folder } = repository([1]);
    const server = await start(path);
    const before = [...server.history];
    const aside = join(path, '.aside');
    renameSync(folder, aside);
    if (when === 'for one look') await server.look();
    expect(await ask(server)).toBe(1);
    renameSync(aside, folder);
    await server.settle();
    expect(await ask(server)).toBe(1);
    expect(server.history).toEqual(before);
    expect(server.lifecycle.registry.ready).toBe(true);
  });

  it('is exchanged when another is renamed into its place', async () => {
    const { path, folder } = repository([1]);
    const server = await start(path);
    const traffic = keepAsking(server, 'm');
    cpSync(folder, join(path, '.next'), { recursive: true });
    writeFileSync(join(path, '.next', '1', 'model.onnx'), textEncoder({ seed: 9 }));
    renameSync(folder, join(path, '.old'));
    await server.look();
    renameSync(join(path, '.next'), folder);
    await server.settle();
    await traffic.oneMoreRound();
    await traffic.stop();
    expect(traffic.failures).toEqual([]);
    expect(server.history.slice(0, 4)).toEqual(['m/1 loading', 'm/1 ready', 'm/1 loading', 'm/1 ready']);
  });
});

describe('what is deleted while it is being loaded', () => {
  it('by its first request leaves nothing behind', async () => {
    const { path, folder } = repository([1]);
    const server = await start(path, { preload: new Set() });
    const asked = ask(server).catch((error: unknown) => error);
    await vi.waitFor(() => expect(server.history).toEqual(['m/1 loading']));
    rmSync(folder, { recursive: true });
    await server.settle();
    const outcome = await asked;
    if (outcome !== 1)
      expect(outcome).toMatchObject({ reason: expect.stringMatching(/MODEL_(LOAD_FAILED|NOT_READY)/) });
    await vi.waitFor(() => expect(server.admin.memory()[0]!.rows).toEqual([]));
    expect(server.states()).toEqual({});
    expect(server.history.at(-1)).toBe('m/1 unloaded');
  });

  it('as a new version leaves the old one serving', async () => {
    const { path, folder } = repository([1]);
    const server = await start(path);
    addVersion(folder, 2);
    await server.look();
    const looking = server.look();
    await vi.waitFor(() => expect(server.history).toContain('m/2 loading'));
    rmSync(join(folder, '2'), { recursive: true });
    await looking;
    await server.settle();
    await vi.waitFor(() => expect(server.states()).toEqual({ 'm/1': 'ready' }));
    expect(await ask(server)).toBe(1);
    expect(server.admin.memory()[0]!.rows).toHaveLength(1);
  });
});
