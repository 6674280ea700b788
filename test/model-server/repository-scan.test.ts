import { createHash } from 'node:crypto';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { KnownFacts } from '../../model-server/models/repository/known-facts.ts';
import { scanModel, scanRepository } from '../../model-server/models/repository/scan.ts';
import { textEncoder, textEncoderTable, writeTensorModel, writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(() => {
  for (const undo of cleanUp.splice(0).reverse()) undo();
});

function temporary(): string {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  return path;
}

/** The one version of the one model of a repository. */
async function version(path: string, facts?: KnownFacts) {
  const models = await scanRepository(path, facts ? { facts } : {});
  expect(models).toHaveLength(1);
  return models[0]!.versions.at(-1)!;
}

/** Why the newest version is not complete; empty when it is. */
async function why(path: string): Promise<string> {
  const files = await version(path);
  return files.complete ? '' : files.why;
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe('a repository', () => {
  it('that is not there is refused with the flag to set', async () => {
    await expect(scanRepository(join(temporary(), 'nowhere'))).rejects.toMatchObject({
      reason: 'MODEL_CONFIG_INVALID',
      message: expect.stringContaining('--model-repository'),
    });
  });

  it('holds models by name, with versions by number', async () => {
    const path = temporary();
    writeTextModel(path, 'b', { version: 10 });
    for (const name of [2, 3]) writeTextModel(path, 'b', { version: name });
    writeTensorModel(path, 'a');
    for (const name of ['01', '0', '-1', 'latest', '1.5', '.4', '5.partial', '6.tmp'])
      mkdirSync(join(path, 'b', name));
    writeFileSync(join(path, 'b', '7'), 'no folder');
    for (const name of ['.git', 'c.partial', 'd.tmp', 'notes'])
      mkdirSync(join(path, name, '1'), { recursive: true });
    rmSync(join(path, 'notes', '1'), { recursive: true });
    writeFileSync(join(path, 'README.md'), '');
    const models = await scanRepository(path);
    expect(models.map(({ name, versions }) => [name, versions.map((files) => files.version)])).toEqual([
      ['a', [1]],
      ['b', [2, 3, 10]],
    ]);
    expect(models[1]).toMatchObject({ versionPolicy: { kind: 'latest', count: 1 }, problems: [] });
    expect(models[1]!.versions[0]).toMatchObject({
      name: 'b',
      folder: join(path, 'b'),
      versionFolder: join(path, 'b', '2'),
      modelFile: join(path, 'b', '2', 'model.onnx'),
      complete: true,
    });
  });

  it('tells of an ensemble that it is not served, not that its model file is missing', async () => {
    const path = temporary();
    mkdirSync(join(path, 'm', '1'), { recursive: true });
    writeFileSync(
      join(path, 'm', 'config.pbtxt'),
      'platform: "ensemble" ensemble_scheduling { step [ { model_name: "a" model_version: -1 } ] }',
    );
    expect(await why(path)).toMatch(/platform: is "ensemble".*; ensemble_scheduling: is not served/);
  });

  it('is not kept from being ready by what file systems put there', async () => {
    const path = temporary();
    writeTextModel(path, 'lost+found');
    expect(await scanRepository(path)).toEqual([]);
  });

  it('reads a config again only when its file has changed', async () => {
    const path = temporary();
    const folder = writeTextModel(path, 'm');
    const facts = new KnownFacts();
    const file = join(folder, 'config.pbtxt');
    const problems = async () => (await scanModel(path, 'm', { facts }))!.problems.length;
    expect(await problems()).toBe(0);
    writeFileSync(file, 'max_batch_sise: 2');
    expect(await problems()).toBe(1);
    expect(await problems()).toBe(1);
    writeFileSync(file, 'max_batch_size: 2');
    expect(await problems()).toBe(0);
    rmSync(file);
    mkdirSync(file);
    expect(await problems()).toBe(1);
    rmSync(file, { recursive: true });
    expect(await problems()).toBe(0);
  });

  it('tells of a config without a version, and of a config that is broken', async () => {
    const path = temporary();
    mkdirSync(join(path, 'empty'));
    writeFileSync(join(path, 'empty', 'config.pbtxt'), '');
    writeFileSync(join(writeTextModel(path, 'odd'), 'config.pbtxt'), 'sequence_batching { }');
    const [empty, odd] = await scanRepository(path);
    expect(empty!.problems).toEqual([expect.stringMatching(/no version: expected 1.model\.onnx/)]);
    expect(odd!.problems).toEqual([expect.stringMatching(/sequence_batching: is not served/)]);
    expect(odd!.versions).toMatchObject([{ complete: true }]);
  });

  it('respects policy and file name of the config, and of a config that stands in for it', async () => {
    const path = temporary();
    const folder = writeTextModel(path, 'm');
    renameSync(join(folder, '1', 'model.onnx'), join(folder, '1', 'encoder.onnx'));
    expect(await why(path)).toBe('model.onnx is missing');
    writeFileSync(
      join(folder, 'config.pbtxt'),
      'default_model_filename: "encoder.onnx" version_policy { specific { versions: [ 1, 3 ] } }',
    );
    expect(await scanModel(path, 'm')).toMatchObject({
      versionPolicy: { kind: 'specific', versions: [1, 3] },
      versions: [{ complete: true, modelFile: join(folder, '1', 'encoder.onnx') }],
    });
    expect(await scanModel(path, 'm', { override: '{"version_policy": {"all": {}}}' })).toMatchObject({
      versionPolicy: { kind: 'all' },
      versions: [{ complete: false, why: 'model.onnx is missing' }],
    });
  });

  it.each(['..', '.', '', '.hidden', 'a/b', 'a\\b', 'a\0b', 'gone'])(
    'has no model called %j',
    async (name) => {
      const path = temporary();
      writeTextModel(path, 'a');
      expect(await scanModel(path, name)).toBeUndefined();
    },
  );
});

describe('a version is complete', () => {
  it('only when the last byte of a file that is written slowly has come', async () => {
    const path = temporary();
    const file = join(writeTextModel(path, 'm'), '1', 'model.onnx');
    const bytes = readFileSync(file);
    writeFileSync(file, '');
    for (let at = 0; at < bytes.length; at += 500) {
      expect(await why(path)).toMatch(/^model\.onnx is not a whole ONNX file: /);
      appendFileSync(file, bytes.subarray(at, at + 500));
    }
    expect(await why(path)).toBe('');
  });

  it('only when all files of a version that is copied one by one have come', async () => {
    const path = temporary();
    const source = join(writeTextModel(temporary(), 'm', { external: 'weights.bin' }), '1');
    const sums = readdirSync(source).map((name) => `${sha256(readFileSync(join(source, name)))}  ${name}`);
    writeFileSync(join(source, 'vocab.txt'), 'a');
    writeFileSync(
      join(source, 'SHA256SUMS'),
      [...sums, `${sha256(Buffer.from('a'))} *./vocab.txt`, ''].join('\n'),
    );
    const target = join(path, 'm', '1');
    mkdirSync(target, { recursive: true });
    const seen: string[] = [];
    for (const name of ['SHA256SUMS', 'model.onnx', 'weights.bin', 'vocab.txt']) {
      seen.push(await why(path));
      copyFileSync(join(source, name), join(target, name));
    }
    expect(seen).toEqual([
      'model.onnx is missing',
      'model.onnx is missing',
      'weights.bin is missing, which holds weights of model.onnx',
      'SHA256SUMS lists vocab.txt, which is missing',
    ]);
    expect(await why(path)).toBe('');
  });

  it('at once when it is renamed into place', async () => {
    const path = temporary();
    const folder = writeTextModel(path, 'm');
    writeFileSync(join(folder, '1', 'model.onnx.partial'), 'half');
    renameSync(join(folder, '1'), join(folder, '2.partial'));
    expect(await scanRepository(path)).toEqual([]);
    renameSync(join(folder, '2.partial'), join(folder, '2'));
    expect(await version(path)).toMatchObject({ version: 2, complete: true });
  });

  it('not when the model file is torn, or no model at all', async () => {
    const path = temporary();
    const file = join(writeTextModel(path, 'm'), '1', 'model.onnx');
    truncateSync(file, 700);
    expect(await why(path)).toMatch(/not a whole ONNX file/);
    rmSync(file);
    mkdirSync(file);
    expect(await why(path)).toBe('model.onnx is missing');
  });

  it('not when weights in another file are cut short', async () => {
    const path = temporary();
    const folder = writeTextModel(path, 'm', { external: 'weights.bin' });
    truncateSync(join(folder, '1', 'weights.bin'), 100);
    const needed = textEncoderTable().length;
    expect(await why(path)).toBe(`weights.bin has 100 bytes, but model.onnx needs ${needed} of them`);
  });

  it('never when its weights lie elsewhere, and the model says so', async () => {
    const path = temporary();
    const folder = writeTextModel(path, 'm');
    writeFileSync(join(folder, '1', 'model.onnx'), textEncoder({ external: '../../secret' }));
    const [model] = await scanRepository(path);
    expect(model!.versions).toMatchObject([{ complete: false }]);
    expect(model!.problems).toEqual([
      expect.stringMatching(/version 1: model\.onnx: .*outside of the version folder/),
    ]);
  });
});

describe('a farm of links', () => {
  /** A model folder whose files are all links to blobs, as the hub's cache has them. */
  function farm(path: string) {
    const blobs = temporary();
    const source = writeTextModel(temporary(), 'm', { external: 'weights.bin' });
    const folder = join(path, 'm');
    mkdirSync(join(folder, '1'), { recursive: true });
    for (const name of ['tokenizer.json', 'tokenizer_config.json', '1/model.onnx', '1/weights.bin']) {
      const blob = join(blobs, sha256(Buffer.from(name)));
      copyFileSync(join(source, name), blob);
      symlinkSync(blob, join(folder, name));
    }
    return { folder, blobs };
  }

  it('is a model like any other, and a swapped link is a change', async () => {
    const path = temporary();
    const { folder, blobs } = farm(path);
    const before = await version(path);
    expect(before).toMatchObject({ complete: true });
    const other = join(blobs, 'other');
    writeFileSync(other, textEncoder({ external: 'weights.bin', seed: 2 }));
    symlinkSync(other, join(folder, '1', 'model.onnx.tmp'));
    expect((await version(path)).signature).toBe(before.signature);
    renameSync(join(folder, '1', 'model.onnx.tmp'), join(folder, '1', 'model.onnx'));
    const after = await version(path);
    expect(after).toMatchObject({ complete: true });
    expect(after.signature).not.toBe(before.signature);
  });

  it('may be a link as a whole', async () => {
    const [path, elsewhere] = [temporary(), temporary()];
    farm(elsewhere);
    symlinkSync(join(elsewhere, 'm'), join(path, 'n'));
    expect(await version(path)).toMatchObject({ name: 'n', complete: true });
  });

  it('is incomplete while a link leads nowhere', async () => {
    const path = temporary();
    const { folder, blobs } = farm(path);
    rmSync(join(blobs, sha256(Buffer.from('1/weights.bin'))));
    expect(await why(path)).toBe('weights.bin is a link that leads nowhere');
    rmSync(join(blobs, sha256(Buffer.from('1/model.onnx'))));
    expect(await why(path)).toBe('model.onnx is a link that leads nowhere');
    symlinkSync(join(folder, 'gone'), join(path, 'dangling'));
    symlinkSync(join(path, 'loop'), join(path, 'loop'));
    expect((await scanRepository(path)).map(({ name }) => name)).toEqual(['m']);
  });

  it('that goes round in circles is looked at once', async () => {
    const path = temporary();
    const { folder } = farm(path);
    symlinkSync(folder, join(folder, '1', 'round'));
    expect(await version(path)).toMatchObject({ complete: true });
  });

  it('with a link that leads far out is still found whole', async () => {
    const path = temporary();
    const { folder } = farm(path);
    const many = temporary();
    for (let number = 0; number < 2500; number++) writeFileSync(join(many, `${number}`), '');
    symlinkSync(many, join(folder, '1', 'elsewhere'));
    expect(await version(path)).toMatchObject({ complete: true });
  });
});

describe('a version that is deleted while it is looked at', () => {
  it('is not there, or incomplete, but never an error', async () => {
    const path = temporary();
    for (let number = 1; number <= 20; number++) writeTextModel(path, 'm', { version: number });
    const looks: Promise<unknown>[] = [];
    for (let number = 1; number <= 20; number++) {
      const look = scanRepository(path);
      looks.push(look);
      // The look is under way: it has asked for the folder's names.
      await new Promise((resolve) => setImmediate(resolve));
      rmSync(join(path, 'm', String(number)), { recursive: true });
    }
    for (const look of looks) await expect(look).resolves.toBeInstanceOf(Array);
    rmSync(join(path, 'm'), { recursive: true });
    expect(await scanRepository(path)).toEqual([]);
  });
});

describe('a manifest of checksums', () => {
  function model(): { path: string; folder: string; hash: string } {
    const path = temporary();
    const folder = join(writeTextModel(path, 'm'), '1');
    return { path, folder, hash: sha256(readFileSync(join(folder, 'model.onnx'))) };
  }

  it.each([
    ['SHA256SUMS', (hash: string) => `# made by sha256sum\n\n${hash}  model.onnx\n`],
    ['manifest.sha256', (hash: string) => `${hash} *model.onnx\r\n`],
    ['manifest.sha256', (hash: string) => `${hash.toUpperCase()}  ./model.onnx`],
    ['model.onnx.sha256', (hash: string) => hash],
    ['model.onnx.sha256', (hash: string) => `${hash}  model.onnx\n`],
  ])('%s is right', async (name, contents) => {
    const { path, folder, hash } = model();
    writeFileSync(join(folder, name), contents(hash));
    expect(await why(path)).toBe('');
  });

  it.each(['SHA256SUMS', 'manifest.sha256', 'model.onnx.sha256'])(
    '%s is wrong: both hashes are told',
    async (name) => {
      const { path, folder, hash } = model();
      const other = sha256(Buffer.from('other'));
      writeFileSync(join(folder, name), `${other}  model.onnx\n`);
      const [found] = await scanRepository(path);
      const told = `model.onnx has sha256 ${hash}, but ${name} says ${other}`;
      expect(found!.versions).toMatchObject([{ complete: false, why: told }]);
      expect(found!.problems).toEqual([`version 1: ${told}`]);
    },
  );

  it.each([
    [
      'lists a file that is missing',
      (hash: string) => `${hash}  gone.bin\n`,
      /SHA256SUMS lists gone\.bin, which is missing/,
    ],
    ['is cut off', (hash: string) => hash.slice(0, 30), /SHA256SUMS, line 1: no sha256 and name/],
    [
      'lists a file elsewhere',
      (hash: string) => `${hash}  a/../../b\n`,
      /\.\.\/b lies outside of the version folder/,
    ],
  ])('that %s leaves the version incomplete', async (_, contents, message) => {
    const { path, folder, hash } = model();
    writeFileSync(join(folder, 'SHA256SUMS'), contents(hash));
    expect(await why(path)).toMatch(message);
  });

  it('is checked again only when the file has changed', async () => {
    const { path, folder, hash } = model();
    writeFileSync(join(folder, 'SHA256SUMS'), `${hash}  model.onnx\n`);
    const facts = new KnownFacts();
    expect(await version(path, facts)).toMatchObject({ complete: true });
    const file = join(folder, 'model.onnx');
    const damaged = readFileSync(file);
    damaged[damaged.length - 200]! ^= 1;
    utimesSync(file, 1000, 1000);
    expect(await version(path, facts)).toMatchObject({ complete: true });
    writeFileSync(file, damaged);
    expect(await version(path, facts)).toMatchObject({ complete: false });
  });
});

describe('the signature of a version', () => {
  const changes: [string, boolean, (folder: string) => void][] = [
    ['nothing', false, () => undefined],
    ['the model file', true, (folder) => appendFileSync(join(folder, '1', 'model.onnx'), 'x')],
    ['the time of a file alone', true, (folder) => utimesSync(join(folder, '1', 'model.onnx'), 5, 5)],
    ['a file of its own', true, (folder) => writeFileSync(join(folder, '1', 'golden.json'), '{}')],
    ['the tokenizer', true, (folder) => appendFileSync(join(folder, 'tokenizer.json'), ' ')],
    ['the config', true, (folder) => writeFileSync(join(folder, 'config.pbtxt'), '')],
    [
      'the pooling',
      true,
      (folder) => {
        mkdirSync(join(folder, '1_Pooling'));
        writeFileSync(join(folder, '1_Pooling', 'config.json'), '{}');
      },
    ],
    ['the rollout', false, (folder) => writeFileSync(join(folder, 'rollout.yaml'), '')],
    ['a file on its way', false, (folder) => writeFileSync(join(folder, '1', 'b.partial'), '')],
    ['another version', false, (folder) => mkdirSync(join(folder, '2'))],
  ];
  it.each(changes)('with a change of %s: %s', async (_, changed, change) => {
    const path = temporary();
    const folder = writeTextModel(path, 'm');
    const [before] = await scanRepository(path);
    change(folder);
    const [after] = await scanRepository(path);
    expect(after!.versions[0]!.signature !== before!.versions[0]!.signature).toBe(changed);
    if (changed) expect(after!.signature).not.toBe(before!.signature);
  });

  it('shows a swap for a file of the same size and time', async () => {
    const path = temporary();
    const folder = join(writeTextModel(path, 'm'), '1');
    const file = join(folder, 'model.onnx');
    utimesSync(file, 5, 5);
    const before = await version(path);
    writeFileSync(join(folder, 'next.tmp'), textEncoder({ seed: 2 }));
    utimesSync(join(folder, 'next.tmp'), 5, 5);
    renameSync(join(folder, 'next.tmp'), file);
    expect((await version(path)).signature).not.toBe(before.signature);
  });
});
