import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { collect } from '../../cli/ingest/collect.ts';

function folderWith(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-collect-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

const names = async (paths: string[], cwd: string) =>
  (await collect(paths, cwd)).files.map(({ name }) => name);

test('a folder gives all below it under its own name and the path in it, and says what it leaves out', async () => {
  const cwd = folderWith({
    'docs/README.md': 'a',
    'docs/deep/er/README.md': 'b',
    'docs/.hidden': 'c',
    'docs/.git/config': 'd',
    'docs/node_modules/x/README.md': 'e',
  });
  symlinkSync(cwd, join(cwd, 'docs/loop'));
  const { files, skipped } = await collect(['docs'], cwd);
  expect(files.map(({ name, bytes }) => [name, bytes])).toEqual([
    ['docs/README.md', 1],
    ['docs/deep/er/README.md', 1],
  ]);
  expect(skipped.map(({ path, why }) => [path.slice(cwd.length), why])).toEqual([
    ['/docs/.git', 'hidden'],
    ['/docs/.hidden', 'hidden'],
    ['/docs/loop', 'a symbolic link'],
    ['/docs/node_modules', 'packages, not documents'],
  ]);
});

test('globs keep the last folder of their fixed part and the path after it', async () => {
  const cwd = folderWith({
    'a/b/1.md': '',
    'a/b/2.txt': '',
    'a/c/3.md': '',
    'a/.x/4.md': '',
    'a/node_modules/5.md': '',
  });
  expect(await names(['a/**/*.md'], cwd)).toEqual(['a/b/1.md', 'a/c/3.md']);
  expect(await names(['a/b/{1.md,2.txt}'], cwd)).toEqual(['b/1.md', 'b/2.txt']);
  expect(await names([join(cwd, 'a/*/3.md')], '/')).toEqual(['a/c/3.md']);
  expect(await names(['*/3.md'], join(cwd, 'a'))).toEqual(['a/c/3.md']);
});

test('a file whose name is also a pattern is that file', async () => {
  const cwd = folderWith({ 'notes [2024].md': '' });
  expect(await names(['notes [2024].md'], cwd)).toEqual(['notes [2024].md']);
});

test('an id does not depend on what else is given', async () => {
  const cwd = folderWith({ 'a/README.md': '', 'b/README.md': '' });
  expect(await names(['a'], cwd)).toEqual(['a/README.md']);
  expect(await names(['b/'], cwd)).toEqual(['b/README.md']);
  expect(await names(['a', 'b'], cwd)).toEqual(['a/README.md', 'b/README.md']);
  expect(await names(['.'], join(cwd, 'a'))).toEqual(['a/README.md']);
  expect(await names(['a/README.md'], cwd)).toEqual(['README.md']);
});

test('a file named twice is taken once, and two files of one id are refused', async () => {
  const cwd = folderWith({ 'a/README.md': '', 'b/README.md': '' });
  expect(await names(['a', 'a/README.md'], cwd)).toEqual(['a/README.md']);
  await expect(collect(['a/README.md', 'b/README.md'], cwd)).rejects.toThrow(
    'a/README.md and b/README.md would have the same id README.md',
  );
});

// Paths above the system's limit can't be read by anyone, not even by root.
test.runIf(process.platform === 'linux')('a folder that can not be read is left out, and told', async () => {
  const long = Array.from({ length: 15 }, () => 'x'.repeat(200)).join('/');
  const cwd = folderWith({ 'docs/a.md': 'a', [`docs/${long}/b.md`]: 'b', [`moved/${long}/c.md`]: 'c' });
  const [from, to] = [join(cwd, 'moved'), join(cwd, 'docs', long, 'moved')];
  renameSync(from, to);
  const { files, skipped } = await collect(['docs'], cwd).finally(() => renameSync(to, from));
  expect(files.map(({ name }) => name)).toEqual(['docs/a.md', `docs/${long}/b.md`]);
  expect(skipped.map(({ why }) => why)).toEqual([expect.stringMatching(/^can't be read: ENAMETOOLONG/)]);
});

test('every path that leads to nothing is named', async () => {
  const cwd = folderWith({ 'a.md': '' });
  await expect(collect(['a.md', 'b.md', '*.pdf'], cwd)).rejects.toThrow(
    'b.md does not exist\n       *.pdf matches no file',
  );
});
