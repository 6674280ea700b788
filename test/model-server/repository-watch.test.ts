import { appendFileSync, cpSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { VersionFiles } from '../../model-server/models/repository/version-files.ts';
import { RepositoryWatch } from '../../model-server/models/repository/watch.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

/** Folders that can't be listed now, as on a disk that fails. */
const failing = vi.hoisted(() => new Set<unknown>());
vi.mock(import('node:fs/promises'), async (original) => {
  const real = await original();
  const readdir = ((...given: Parameters<typeof real.readdir>) =>
    failing.has(given[0])
      ? Promise.reject(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }))
      : real.readdir(...given)) as typeof real.readdir;
  return { ...real, readdir };
});

const cleanUp: (() => unknown)[] = [];
afterEach(() => {
  for (const undo of cleanUp.splice(0).reverse()) undo();
});

/** A watch under a clock of its own: files that were written by the test are as old as `ageMs`. */
function watched(ageMs: number) {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  const pauses: number[] = [];
  let duringPause = (): void => undefined;
  const watch = new RepositoryWatch(path, {
    quietMs: 1000,
    nowMs: () => Date.now() + ageMs,
    pause: async (delayMs) => {
      pauses.push(delayMs);
      duringPause();
    },
  });
  const look = async () => {
    const models = await watch.look();
    return models.flatMap(({ versions }) => versions.map(stateOf));
  };
  const onPause = (task: () => void) => {
    duringPause = task;
  };
  return { path, watch, pauses, look, onPause };
}

const stateOf = (files: VersionFiles) =>
  `${files.name}/${files.version} ${files.complete ? 'complete' : files.why}`;
const unsettled = (version: string) =>
  expect.stringMatching(new RegExp(`^${version} its files have just changed`));

const gone = (version: string) => expect.stringMatching(new RegExp(`^${version} its folder is gone`));

describe('the first look', () => {
  it('takes versions that have been quiet', async () => {
    const { path, look, pauses } = watched(5000);
    writeTextModel(path, 'm');
    expect(await look()).toEqual(['m/1 complete']);
    expect(pauses).toEqual([]);
  });

  it('looks again when files have just changed', async () => {
    const { path, look, pauses } = watched(0);
    writeTextModel(path, 'm');
    expect(await look()).toEqual(['m/1 complete']);
    expect(pauses).toEqual([1000]);
  });

  it('looks again when files were put there just now with the times of their originals', async () => {
    const { path, look, pauses } = watched(0);
    const folder = writeTextModel(path, 'm');
    for (const name of ['1/model.onnx', 'tokenizer.json']) utimesSync(join(folder, name), 5, 5);
    expect(await look()).toEqual(['m/1 complete']);
    expect(pauses).toEqual([1000]);
  });

  it('tells of a version that can’t be read, and takes the others', async () => {
    const { path, look } = watched(5000);
    const folder = writeTextModel(path, 'm');
    writeTextModel(path, 'm', { version: 2 });
    failing.add(join(folder, '2'));
    cleanUp.push(() => failing.clear());
    expect(await look()).toEqual(['m/1 complete', expect.stringMatching(/^m\/2 .*can't be read: EIO/)]);
    failing.clear();
    expect(await look()).toEqual(['m/1 complete', unsettled('m/2')]);
    expect(await look()).toEqual(['m/1 complete', 'm/2 complete']);
  });

  it('leaves out what goes on changing', async () => {
    const { path, look, onPause } = watched(0);
    const folder = writeTextModel(path, 'm');
    onPause(() => appendFileSync(join(folder, 'tokenizer.json'), ' '));
    expect(await look()).toEqual([unsettled('m/1')]);
    expect(await look()).toEqual(['m/1 complete']);
  });

  it('does not wait for files that are incomplete anyway', async () => {
    const { path, look, pauses } = watched(0);
    rmSync(join(writeTextModel(path, 'm'), '1', 'model.onnx'));
    expect(await look()).toEqual(['m/1 model.onnx is missing']);
    expect(pauses).toEqual([]);
  });
});

describe('later looks', () => {
  it('take a new version when it was the same twice, however old its files are', async () => {
    const { path, look } = watched(5000);
    const folder = writeTextModel(path, 'm');
    await look();
    cpSync(join(folder, '1'), join(folder, '2'), { recursive: true });
    utimesSync(join(folder, '2', 'model.onnx'), 5, 5);
    expect(await look()).toEqual(['m/1 complete', unsettled('m/2')]);
    expect(await look()).toEqual(['m/1 complete', 'm/2 complete']);
  });

  it('take no version that is still being copied, though it seems whole between two files', async () => {
    const { path, look } = watched(5000);
    const folder = writeTextModel(path, 'm');
    await look();
    cpSync(join(folder, '1'), join(folder, '2'), { recursive: true });
    for (const name of ['tokenizer.json', 'tokenizer_config.json', 'golden.json']) {
      expect(await look()).toEqual(['m/1 complete', unsettled('m/2')]);
      writeFileSync(join(folder, '2', name), '{}');
    }
    expect(await look()).toEqual(['m/1 complete', unsettled('m/2')]);
    expect(await look()).toEqual(['m/1 complete', 'm/2 complete']);
  });

  it('see a change in place, and a version that is gone', async () => {
    const { path, look } = watched(5000);
    const folder = writeTextModel(path, 'm');
    await look();
    writeTextModel(path, 'm', { seed: 2 });
    expect(await look()).toEqual([unsettled('m/1')]);
    expect(await look()).toEqual(['m/1 complete']);
    rmSync(join(folder, '1'), { recursive: true });
    expect(await look()).toEqual([gone('m/1')]);
    expect(await look()).toEqual([]);
  });

  it('tell once more of one version among several that is gone, in its place', async () => {
    const { path, look } = watched(5000);
    for (const version of [1, 2, 3]) writeTextModel(path, 'm', { version });
    writeTextModel(path, 'n');
    await look();
    for (const folder of ['m/2', 'n']) rmSync(join(path, folder), { recursive: true });
    expect(await look()).toEqual(['m/1 complete', gone('m/2'), 'm/3 complete', gone('n/1')]);
    expect(await look()).toEqual(['m/1 complete', 'm/3 complete']);
  });

  it('see a folder that is renamed back as it was', async () => {
    const { path, look } = watched(5000);
    const folder = writeTextModel(path, 'm');
    await look();
    renameSync(join(folder, '1'), join(folder, 'aside'));
    expect(await look()).toEqual([gone('m/1')]);
    renameSync(join(folder, 'aside'), join(folder, '1'));
    expect(await look()).toEqual([unsettled('m/1')]);
    expect(await look()).toEqual(['m/1 complete']);
  });

  it.each(['', '1'])('keep what they saw when the folder "%s" of a model can’t be read', async (inner) => {
    const { path, look, watch } = watched(5000);
    const folder = writeTextModel(path, 'm');
    writeTextModel(path, 'n');
    await look();
    failing.add(join(folder, inner));
    cleanUp.push(() => failing.clear());
    const [m, n] = await watch.look();
    expect(m).toMatchObject({ name: 'm', versions: [{ complete: true }] });
    expect(m!.problems).toEqual([
      expect.stringMatching(new RegExp(`${join('m', inner)} can't be read: EIO`)),
    ]);
    expect(n).toMatchObject({ name: 'n', versions: [{ complete: true }], problems: [] });
    failing.clear();
    expect(await look()).toEqual(['m/1 complete', 'n/1 complete']);
    expect((await watch.look())[0]!.problems).toEqual([]);
  });

  it('at the same time are one', async () => {
    const { path, watch } = watched(5000);
    writeTextModel(path, 'm');
    const looks = [watch.look(), watch.look()];
    expect(looks[0]).toBe(looks[1]);
    await looks[0];
    expect(watch.look()).not.toBe(looks[0]);
  });
});

it('a model that is asked for by name is taken at once', async () => {
  const { path, watch } = watched(0);
  writeTextModel(path, 'm');
  expect(await watch.lookAt('m')).toMatchObject({ name: 'm', versions: [{ complete: true }] });
  expect(await watch.lookAt('n')).toBeUndefined();
  expect(await watch.lookAt('m', '{"version_policy": {"all": {}}}')).toMatchObject({
    versionPolicy: { kind: 'all' },
  });
});
