import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readRollout, writeRollout } from '../../model-server/models/rollout/rollout-file.ts';
import { canaryPlan, example, examplePlan } from './rollout-samples.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rollout-'));
  file = join(folder, 'rollout.yaml');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the file', () => {
  it('is written whole and read back, with nothing left over', async () => {
    expect(await readRollout(file)).toBeUndefined();
    await writeRollout(file, canaryPlan);
    expect(await readRollout(file)).toEqual(canaryPlan);
    writeFileSync(file, example);
    await writeRollout(file, { ...examplePlan, shadow: { version: 2, percent: 20 } });
    expect(readFileSync(file, 'utf8')).toBe(example.replace('percent: 10', 'percent: 20'));
    expect(readdirSync(folder)).toEqual(['rollout.yaml']);
  });

  it('is refused above 64 KB, as a folder, and when it is wrong', async () => {
    writeFileSync(file, `#${'x'.repeat(70_000)}`);
    await expect(readRollout(file)).rejects.toMatchObject({
      reason: 'MODEL_CONFIG_INVALID',
      message: expect.stringContaining('has 70001 bytes; the limit is 65536'),
    });
    writeFileSync(file, 'x: 1');
    await expect(readRollout(file)).rejects.toThrow('rollout.yaml:1: x is no setting');
    rmSync(file);
    mkdirSync(file);
    await expect(readRollout(file)).rejects.toMatchObject({ reason: 'MODEL_CONFIG_INVALID' });
  });

  it.skipIf(process.platform === 'win32')('is not waited for when it is a named pipe', async () => {
    execFileSync('mkfifo', [file]);
    await expect(readRollout(file)).rejects.toThrow('is no regular file');
  });

  it('says so when its folder is gone', async () => {
    rmSync(folder, { recursive: true });
    await expect(writeRollout(file, examplePlan)).rejects.toMatchObject({
      reason: 'INTERNAL',
      message: expect.stringMatching(/rollout\.yaml can't be written: .*the rollout stays as it was/),
    });
  });

  it.skipIf(process.platform === 'win32')('stays whole when the disk takes no more bytes', async () => {
    writeFileSync(file, example);
    const source = fileURLToPath(
      new URL('../../model-server/models/rollout/rollout-file.ts', import.meta.url),
    );
    const script = `
      import { readRollout, writeRollout } from ${JSON.stringify(source)};
      const plan = await readRollout(process.argv[1]);
      await writeRollout(process.argv[1], { ...plan, shadow: undefined }).catch((error) => console.log(error.reason, error.message));`;
    // A process that may write files of no byte at all: each write fails as on a full disk.
    const { stdout } = await promisify(execFile)('sh', [
      '-c',
      'ulimit -f 0; exec "$0" "$@"',
      process.execPath,
      '--input-type=module',
      '-e',
      script,
      file,
    ]);
    expect(stdout).toMatch(/^INTERNAL .*can't be written/);
    expect(readFileSync(file, 'utf8')).toBe(example);
    expect(readdirSync(folder)).toEqual(['rollout.yaml']);
  });
});
