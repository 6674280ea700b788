import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Target } from '../../model-server/models/target.ts';
import { addVersion, startLifecycle, target } from './lifecycle-harness.ts';
import { writeTensorModel, writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

/** Model m with version 1 and a version 2 of another space, both served. */
async function twoSpaces(options: Parameters<typeof startLifecycle>[1] = {}) {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  const folder = writeTextModel(path, 'm');
  addVersion(folder, 2, { seed: 2 });
  writeFileSync(join(folder, 'config.pbtxt'), 'version_policy { all {} }');
  const server = await startLifecycle(path, options);
  cleanUp.push(() => server[Symbol.asyncDispose]());
  const ask = async (more: Partial<Target> = {}) =>
    (await server.lifecycle.serving.embed(target('m', more), ['hello'], { truncate: 'end' })).ref;
  const [one, two] = [await ask({ version: 1 }), await ask({ version: 2 })];
  return { path, folder, server, ask, one: one.space, two: two.space };
}

describe('a request that expects a space', () => {
  it('is answered by the version that has it, also while a newer one has another', async () => {
    const { ask, one, two } = await twoSpaces();
    expect(one).not.toBe(two);
    expect(await ask()).toMatchObject({ version: 2, space: two, dimension: 8 });
    expect(await ask({ expectSpace: two })).toMatchObject({ version: 2, space: two });
    expect(await ask({ expectSpace: one })).toMatchObject({ version: 1, space: one });
  });

  it('is answered though the version that has it is not loaded', async () => {
    const { server, ask, one } = await twoSpaces({ preload: new Set() });
    await server.admin.unload('m', 1);
    expect(await ask({ expectSpace: one })).toMatchObject({ version: 1, space: one });
  });

  it('is refused when no version has it, with both spaces', async () => {
    const { ask, two } = await twoSpaces();
    await expect(ask({ expectSpace: 'another' })).rejects.toMatchObject({
      reason: 'SPACE_MISMATCH',
      message: `model m version 2 makes vectors of space ${two}, the request expects another; vectors of the two must not be mixed.`,
    });
  });

  it('is refused when it names a version of another space: a named version is never exchanged', async () => {
    const { ask, one, two } = await twoSpaces();
    await expect(ask({ version: 2, expectSpace: one })).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
    await expect(ask({ version: 1, expectSpace: two })).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
    expect(await ask({ version: 1, expectSpace: one })).toMatchObject({ version: 1 });
  });

  it('is refused once the version that had it is gone', async () => {
    const { folder, server, ask, one } = await twoSpaces();
    rmSync(join(folder, '1'), { recursive: true });
    await server.settle();
    await expect(ask({ expectSpace: one })).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
  });

  it('of a model that makes no vectors is refused', async () => {
    const { path, remove } = temporaryFolder();
    cleanUp.push(remove);
    writeTensorModel(path, 'raw');
    await using server = await startLifecycle(path);
    const asked = server.lifecycle.serving.signature(target('raw', { task: 'infer', expectSpace: 'x' }));
    await expect(asked).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
  });
});

describe('the space of a version', () => {
  it('stays when its files are written again, moved, renamed, or run in another way', async () => {
    const { path, folder, server, ask, one } = await twoSpaces();
    cpSync(join(folder, '1'), join(folder, '3'), { recursive: true });
    writeFileSync(
      join(folder, 'config.pbtxt'),
      'version_policy { all {} } max_batch_size: 4 instance_group { count: 2 kind: KIND_CPU }',
    );
    await server.settle();
    expect(await ask({ version: 3 })).toMatchObject({ version: 3, space: one });
    expect(await ask({ version: 1 })).toMatchObject({ version: 1, space: one });
    // Of two versions with the wanted space the newer one answers.
    expect(await ask({ expectSpace: one })).toMatchObject({ version: 3 });
    cpSync(folder, join(path, 'renamed'), { recursive: true });
    await server.settle();
    const renamed = server.admin.list().filter(({ name }) => name === 'renamed');
    expect(renamed.find(({ version }) => version === 3)?.space).toBe(one);
  });

  it('changes with what decides its vectors', async () => {
    const { folder, server, ask, one, two } = await twoSpaces();
    writeFileSync(
      join(folder, 'config.pbtxt'),
      'version_policy { all {} } parameters { key: "pooling" value { string_value: "cls" } }',
    );
    await server.settle();
    const spaces = [await ask({ version: 1 }), await ask({ version: 2 })].map(({ space }) => space);
    expect(new Set([one, two, ...spaces]).size).toBe(4);
    await expect(ask({ expectSpace: one })).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
  });
});

describe('traffic between two spaces', () => {
  const split = { alias: 'stable', weights: { 1: 50, 2: 50 }, makeDefault: true };

  it('is refused for an embedder unless it is allowed in so many words', async () => {
    const { server, ask, one } = await twoSpaces();
    await expect(server.admin.setTraffic('m', { ...split, mixedSpaces: undefined })).rejects.toMatchObject({
      message: expect.stringMatching(/space/),
    });
    expect(await ask()).toMatchObject({ version: 2 });
    await server.admin.setTraffic('m', { ...split, mixedSpaces: true });
    const keys = Array.from({ length: 40 }, (_, i) => `key ${i}`);
    const versions = await Promise.all(keys.map(async (stickyKey) => (await ask({ stickyKey })).version));
    expect(new Set(versions)).toEqual(new Set([1, 2]));
    // Who expects a space gets it all the same, whatever the weights would have chosen.
    const pinned = await Promise.all(keys.map((stickyKey) => ask({ stickyKey, expectSpace: one })));
    expect(new Set(pinned.map(({ version }) => version))).toEqual(new Set([1]));
    // And a named version wins over all.
    expect(await ask({ version: 2, stickyKey: 'key 1', alias: 'stable' })).toMatchObject({ version: 2 });
  });

  it('is refused in rollout.yaml too', async () => {
    const { folder, server, ask } = await twoSpaces();
    const file = join(folder, 'rollout.yaml');
    writeFileSync(file, 'aliases:\n  stable: { 1: 50, 2: 50 }\n');
    await server.lifecycle.registry.reloadRollouts();
    expect(server.admin.rolloutStatus('m').problem).toMatch(/space/);
    // What can be served of it without a mix is served.
    const keys = Array.from({ length: 40 }, (_, i) => `key ${i}`);
    const asked = keys.map(async (stickyKey) => (await ask({ alias: 'stable', stickyKey })).space);
    expect(new Set(await Promise.all(asked)).size).toBe(1);
    expect(await ask()).toMatchObject({ version: 2 });
  });
});

describe('versions that share a space by claim', () => {
  it('are told as the space of the lowest, also when that one is no longer served, or has gone', async () => {
    const { folder, server, ask, one, two } = await twoSpaces();
    expect(one).not.toBe(two);
    writeFileSync(join(folder, 'config.pbtxt'), '');
    writeFileSync(
      join(folder, 'rollout.yaml'),
      'default: stable\naliases: { stable: { 2: 100 } }\nsame_space: [1, 2]\n',
    );
    await server.settle();
    expect(Object.keys(server.states())).toEqual(['m/2']);
    expect(await ask()).toMatchObject({ version: 2, space: one });
    expect(await ask({ expectSpace: one })).toMatchObject({ version: 2, space: one });
    rmSync(join(folder, '1'), { recursive: true });
    await server.settle();
    await server.settle();
    expect(await ask({ expectSpace: one })).toMatchObject({ version: 2, space: one });
  });

  it('are told so from the start, though only the higher one is ever loaded', async () => {
    const { path, folder, one } = await twoSpaces();
    writeFileSync(join(folder, 'config.pbtxt'), '');
    writeFileSync(
      join(folder, 'rollout.yaml'),
      'default: stable\naliases: { stable: { 2: 100 } }\nsame_space: [1, 2]\n',
    );
    await using server = await startLifecycle(path);
    const { ref } = await server.lifecycle.serving.embed(target('m'), ['hello'], { truncate: 'end' });
    expect(ref).toMatchObject({ version: 2, space: one });
    expect(server.loads).toEqual(['m/2']);
  });
});
