import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { externalDataOf } from '../../cli/pull/external-data.ts';
import { hasShared, shared } from '../shared.ts';
import { sha256 } from './fake-hub.ts';
import {
  checkManifest,
  embedderFiles,
  embedderTargets,
  emptyFolder,
  fill,
  onnxFile,
  pullFixture,
} from './pull-setup.ts';

test('a folder gives the same version as the hub, and the same folder again gives none', async () => {
  const folder = fill(emptyFolder(), embedderFiles());
  const fixture = pullFixture();
  const result = await fixture.fromFolder(folder);
  expect(result).toMatchObject({ version: 1, file: 'onnx/model.onnx', unchanged: false });
  expect(checkManifest(result.folder)).toEqual(embedderTargets);
  const provenance = JSON.parse(readFileSync(join(result.folder, 'pulled.json'), 'utf8'));
  expect(provenance).toMatchObject({ source: folder, file: 'onnx/model.onnx' });
  expect(await fixture.fromFolder(folder)).toMatchObject({ version: 1, unchanged: true });
  writeFileSync(join(folder, 'tokenizer.json'), '{"version":"2.0"}');
  expect(await fixture.fromFolder(folder)).toMatchObject({ version: 2, unchanged: false });
  expect(readdirSync(join(fixture.repository, 'tiny'))).toEqual(['1', '2']);
});

test('stops in the middle of a large file, and leaves nothing', async () => {
  const bytes = 64 * 1024 * 1024;
  const folder = fill(emptyFolder(), { ...embedderFiles(), 'tokenizer.json': Buffer.alloc(bytes, 32) });
  const stopping = new AbortController();
  const seen: number[] = [];
  const fixture = pullFixture();
  const pulled = fixture.fromFolder(folder, {
    signal: stopping.signal,
    onEvent: (event) => {
      if (event.event !== 'file_progress' || event.file !== 'tokenizer.json') return;
      seen.push(event.doneBytes);
      stopping.abort(new Error('stopped'));
    },
  });
  await expect(pulled).rejects.toThrow();
  expect(seen[0]).toBeLessThan(bytes);
  expect(seen.at(-1)).toBeLessThan(bytes);
  expect(fixture.paths()).toEqual([]);
});

test('a version that lost a file does not count as there', async () => {
  const folder = fill(emptyFolder(), embedderFiles());
  const fixture = pullFixture();
  const { folder: first } = await fixture.fromFolder(folder);
  rmSync(join(first, 'model.onnx'));
  const again = await fixture.fromFolder(folder);
  expect(again).toMatchObject({ version: 2, unchanged: false });
  expect(checkManifest(again.folder)).toEqual(embedderTargets);
});

test('the links of a Hugging Face cache are resolved, and its commit is kept', async () => {
  const commit = 'ab'.repeat(20);
  const cache = join(emptyFolder(), 'models--acme--tiny');
  const snapshot = join(cache, 'snapshots', commit);
  const files = {
    ...embedderFiles({ external: ['model.onnx_data'] }),
    'onnx/model.onnx_data': Buffer.alloc(2000, 1),
  };
  for (const [path, content] of Object.entries(files)) {
    const blob = join(cache, 'blobs', sha256(content));
    fill(cache, { [`blobs/${sha256(content)}`]: content });
    mkdirSync(join(snapshot, path, '..'), { recursive: true });
    symlinkSync(blob, join(snapshot, path));
  }
  const fixture = pullFixture();
  const { folder } = await fixture.fromFolder(snapshot);
  rmSync(cache, { recursive: true });
  expect(checkManifest(folder)).toEqual([...embedderTargets, 'model.onnx_data'].sort());
  expect(lstatSync(join(folder, 'model.onnx')).isFile()).toBe(true);
  expect(JSON.parse(readFileSync(join(folder, 'pulled.json'), 'utf8')).commit).toBe(commit);
});

test('files that nobody may write become files that their owner may', async () => {
  const folder = fill(emptyFolder(), embedderFiles());
  chmodSync(join(folder, 'onnx', 'model.onnx'), 0o444);
  const fixture = pullFixture();
  const { folder: version } = await fixture.fromFolder(folder);
  expect(statSync(join(version, 'model.onnx')).mode & 0o777).toBe(0o644);
});

test.each([
  [
    'no ONNX file',
    { 'model.safetensors': 'x', 'config.json': '{}' },
    /it has no ONNX file.*safetensors(.|\n)*optimum-cli/,
  ],
  [
    'only a Git LFS pointer',
    { 'model.onnx': 'version https://git-lfs.github.com/spec/v1\noid sha256:00\n' },
    /only a Git LFS pointer; run "git lfs pull"/,
  ],
  [
    'a torn file',
    { 'model.onnx': onnxFile({ bytes: 5000 }).subarray(0, 3000) },
    /no whole ONNX model: \d+ bytes are announced, \d+ are there/,
  ],
  ['an empty file', { 'model.onnx': '' }, /no whole ONNX model: it holds no graph/],
  [
    'missing weights',
    { 'model.onnx': onnxFile({ external: ['w.bin'] }) },
    /keeps weights in w\.bin, but .* has no w\.bin/,
  ],
])('a folder with %s is refused and leaves nothing', async (_what, files, message) => {
  const fixture = pullFixture();
  await expect(fixture.fromFolder(fill(emptyFolder(), files))).rejects.toThrow(message);
  expect(existsSync(join(fixture.repository, 'tiny'))).toBe(false);
});

test('a folder that is not there, and a file instead of one', async () => {
  const folder = fill(emptyFolder(), { 'model.onnx': onnxFile() });
  await expect(pullFixture().fromFolder(join(folder, 'nothing'))).rejects.toThrow('is not there');
  await expect(pullFixture().fromFolder(join(folder, 'model.onnx'))).rejects.toThrow('is no folder');
});

test('an interrupted copy leaves nothing', async () => {
  const folder = fill(emptyFolder(), embedderFiles());
  const stopping = new AbortController();
  const fixture = pullFixture();
  const pulling = fixture.fromFolder(folder, {
    signal: stopping.signal,
    onEvent: ({ event }) => {
      if (event === 'file_done') stopping.abort(new Error('stopped'));
    },
  });
  await expect(pulling).rejects.toThrow('stopped');
  expect(existsSync(join(fixture.repository, 'tiny'))).toBe(false);
});

test('a disk that is too small is told before anything is copied', async () => {
  const fixture = pullFixture({ freeBytes: async () => 10 });
  await expect(fixture.fromFolder(fill(emptyFolder(), embedderFiles()))).rejects.toThrow(
    /too small: .*10 \(10 B\) are free/,
  );
  expect(existsSync(join(fixture.repository, 'tiny'))).toBe(false);
});

test('weights in other files are found without reading those inside', async () => {
  const folder = emptyFolder();
  const external = ['a.data', 'b.data', 'deep/c.data'];
  fill(folder, { 'model.onnx': onnxFile({ bytes: 1_000_000, external }) });
  const found = await externalDataOf(join(folder, 'model.onnx'), 'model.onnx');
  expect(found.sort()).toEqual(external);
});

test('graphs nested without end are refused', async () => {
  let graph: Uint8Array = new Uint8Array();
  // node -> attribute -> graph, again and again; lengths are written as five bytes.
  const wrap = (field: number, inner: Uint8Array) => {
    const length = [0, 7, 14, 21, 28].map(
      (shift, index) => ((inner.length >>> shift) & 0x7f) | (index < 4 ? 0x80 : 0),
    );
    return Buffer.concat([Uint8Array.of((field << 3) | 2, ...length), inner]);
  };
  for (let depth = 0; depth < 100; depth++) graph = wrap(1, wrap(5, wrap(6, graph)));
  const folder = fill(emptyFolder(), { 'model.onnx': wrap(7, graph) });
  await expect(externalDataOf(join(folder, 'model.onnx'), 'model.onnx')).rejects.toThrow(
    'nested deeper than',
  );
});

test.skipIf(!hasShared)('real models: what exporters write is read', async () => {
  expect(await externalDataOf(shared('models', 'all-minilm-l6-v2', 'model.onnx'), 'model.onnx')).toEqual([]);
  const fixture = pullFixture();
  const folder = emptyFolder();
  for (const name of readdirSync(shared('models', 'tiny-cross-encoder')))
    copyFileSync(shared('models', 'tiny-cross-encoder', name), join(folder, name));
  const { folder: version } = await fixture.fromFolder(folder);
  const targets = checkManifest(version);
  expect(targets).toEqual(
    expect.arrayContaining(['config.json', 'model.onnx', 'tokenizer.json', 'vocab.txt']),
  );
  expect(targets).not.toContain('model.safetensors');
});
