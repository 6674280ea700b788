import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { inCheckout, nereid, spawnNode } from './spawned.ts';

const MODEL = 'all-minilm-l6-v2';
const repository = ['--model-repository', inCheckout('model-repository')];

async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tune-run-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

test('--help gives examples and the exit codes', async () => {
  const { code, out } = await nereid(['tune', '--help']);
  expect(code).toBe(0);
  expect(out).toMatch(/Examples:\n( {2}.*\n)* {2}nereid tune all-minilm-l6-v2 --p99 50ms/);
  expect(out).toContain('Exit codes: 0 done');
});

test('measures the shipped model within a small budget, and writes curve and configuration', async () => {
  const cwd = await emptyFolder();
  // Any machine keeps this target, and none is through with the search by then.
  const flags = ['--p99', '60s', '--budget-secs', '10', '--write', 'found.pbtxt', '--json', ...repository];
  const { code, out, err } = await nereid(['tune', MODEL, ...flags], { cwd });
  expect({ code, err }).toEqual({ code: 0, err: '' });
  const result = JSON.parse(out);
  expect(result).toMatchObject({ model: MODEL, met: true, ended: 'budget', failures: [] });
  expect(result.points.length).toBeGreaterThan(0);
  for (const { texts_per_second, p50_ms, p99_ms, requests } of result.points) {
    expect(texts_per_second).toBeGreaterThan(0);
    expect(p99_ms).toBeGreaterThanOrEqual(p50_ms);
    expect(requests).toBeGreaterThan(0);
  }
  const fastest = Math.max(
    ...result.points.map((point: { texts_per_second: number }) => point.texts_per_second),
  );
  expect(result.chosen.texts_per_second).toBe(fastest);
  expect(await readFile(join(cwd, 'found.pbtxt'), 'utf8')).toContain(result.config_pbtxt);
  expect(await readFile(join(cwd, `tune-${MODEL}.svg`), 'utf8')).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
  expect((await readdir(cwd)).sort()).toEqual(['found.pbtxt', `tune-${MODEL}.svg`]);
});

test('Ctrl-C reports what was measured, and leaves nothing behind', async () => {
  const cwd = await emptyFolder();
  const temporary = await emptyFolder();
  const flags = ['--p99', '60s', '--budget-secs', '60', '--plot', 'curve.svg', ...repository];
  const run = spawnNode(inCheckout('cli/nereid.ts'), ['tune', MODEL, ...flags], {
    cwd,
    env: { TMPDIR: temporary },
  });
  run.child.stderr?.once('data', () => run.child.kill('SIGINT'));
  expect((await run.ended).code).toBe(130);
  expect(run.stdout.join('\n')).toMatch(/^\*? .*\n(.*\n)*The search was interrupted/m);
  expect(existsSync(join(cwd, 'curve.svg'))).toBe(true);
  expect((await readdir(temporary)).filter((name) => name.startsWith('nereid-'))).toEqual([]);
});

test.each([
  [
    'a budget that ends before the server is ready',
    ['--p99', '50ms', '--budget-secs', '0.01'],
    1,
    /0\.01 s are too short for a single measurement/,
  ],
  [
    'an unknown model',
    ['--p99', '50ms', 'all-minilm-l6'],
    1,
    /no model all-minilm-l6 in .*Did you mean all-minilm-l6-v2\?/,
  ],
  ['no target', [], 2, /required option '--p99 <duration>' not specified/],
  [
    'a target without unit',
    ['--p99', '50'],
    2,
    /argument '50' is invalid. It must be a duration above zero with its unit/,
  ],
  [
    'a budget that is none',
    ['--p99', '1s', '--budget-secs', 'x'],
    2,
    /It must be a number of seconds above zero/,
  ],
  [
    'two kinds of lengths',
    ['--p99', '1s', '--mix', 'queries', '--lengths', 'x'],
    2,
    /cannot be used with option/,
  ],
  [
    'lengths that are not there',
    ['--p99', '1s', '--lengths', 'nowhere.json'],
    2,
    /--lengths nowhere\.json can't be read/,
  ],
])('%s is said in one sentence', async (_what, flags, expected, message) => {
  const cwd = await emptyFolder();
  const model = flags.at(-1)?.startsWith('all-') ? [] : [MODEL];
  const { code, out, err } = await nereid(['tune', ...model, ...flags, ...repository], { cwd });
  expect({ code, out }).toEqual({ code: expected, out: '' });
  expect(err).toMatch(message);
  expect(err).not.toContain('    at ');
  expect(await readdir(cwd)).toEqual([]);
});

test('a file that somebody else has written is not overwritten', async () => {
  const cwd = await emptyFolder();
  await writeFile(join(cwd, 'config.pbtxt'), 'max_batch_size: 4\n');
  const flags = ['--p99', '50ms', '--write', 'config.pbtxt', ...repository];
  const { code, err } = await nereid(['tune', MODEL, ...flags], { cwd });
  expect(code).toBe(2);
  expect(err).toMatch(/--write config\.pbtxt: there is a file already that nereid tune has not written/);
  expect(await readFile(join(cwd, 'config.pbtxt'), 'utf8')).toBe('max_batch_size: 4\n');
});
