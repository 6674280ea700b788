import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lockDataDir } from '../../orchestrator/data-lock.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nereid-lock-'));
});
afterEach(() => rm(folder, { recursive: true }));

const module = new URL('../../orchestrator/data-lock.ts', import.meta.url).href;

/** Another process that holds the lock until it is killed. */
async function holder() {
  const script = `import { lockDataDir } from '${module}'; globalThis.lock = lockDataDir(${JSON.stringify(folder)}); console.log('held'); setInterval(() => {}, 1e6);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return child;
}

test('one process at a time, and a killed one leaves no lock', async () => {
  const child = await holder();
  expect(() => lockDataDir(folder)).toThrow(/in use by another orchestrator.*--data-dir/);
  child.kill('SIGKILL');
  await once(child, 'exit');
  lockDataDir(folder).release();
});

test('twice in one process is refused too, until it is released', () => {
  const lock = lockDataDir(folder);
  expect(() => lockDataDir(folder)).toThrow(expect.objectContaining({ reason: 'STORE_UNAVAILABLE' }));
  lock.release();
  lockDataDir(folder).release();
});

test('a folder that is not there, or a broken lock file, is told in words', async () => {
  expect(() => lockDataDir(join(folder, 'nope'))).toThrow(/Can't write to the data folder .*nope/);
  await writeFile(
    join(folder, 'orchestrator.lock'),
    'this is no database, but long enough to be one'.repeat(100),
  );
  expect(() => lockDataDir(folder)).toThrow(/Can't write to the data folder/);
});
