import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Staging } from '../../orchestrator/ingest/staging.ts';

let folder: string;
let staging: Staging;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nereid-staging-'));
  staging = await Staging.open(folder);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');
const limit = { maxBytes: 1_000_000 };

it.each([
  ['a string', () => 'Grüße'],
  ['bytes', () => Buffer.from('Grüße')],
  ['a stream', () => Readable.from([Buffer.from('Grü'), Buffer.from('ße')])],
  ['a stream of strings', () => Readable.from(['Grü', 'ße'])],
])('keeps %s', async (_, source) => {
  const staged = await staging.write(source(), limit);
  expect(staged).toEqual({ stagedFile: expect.any(String), bytes: 7, sha256: sha256('Grüße') });
  expect(await readFile(staging.path(staged.stagedFile), 'utf8')).toBe('Grüße');
  expect(await staging.sha256(staged.stagedFile)).toBe(staged.sha256);
  expect(await staging.has(staged.stagedFile)).toBe(true);
  await staging.discard(staged.stagedFile);
  await staging.discard(staged.stagedFile);
  expect(await staging.has(staged.stagedFile)).toBe(false);
});

it('refuses more than the limit as soon as it is passed, and leaves nothing behind', async () => {
  let made = 0;
  const endless = new Readable({
    read() {
      made += 65_536;
      this.push(Buffer.alloc(65_536));
    },
  });
  await expect(staging.write(endless, limit)).rejects.toMatchObject({
    reason: 'TOO_LARGE',
    message: expect.stringContaining('1000000 bytes'),
  });
  expect(endless.destroyed).toBe(true);
  expect(made).toBeLessThan(2_000_000);
  expect((await staging.write(Buffer.alloc(1_000_000), limit)).bytes).toBe(1_000_000);
  expect(await readdir(staging.folder)).toHaveLength(1);
});

it('leaves nothing behind when the source breaks or the caller goes away', async () => {
  const broken = new PassThrough();
  broken.write('half');
  const failing = expect(staging.write(broken, limit)).rejects.toMatchObject({ message: 'socket hang up' });
  broken.destroy(new Error('socket hang up'));
  await failing;

  const abort = new AbortController();
  const silent = new PassThrough();
  const cancelled = expect(staging.write(silent, { ...limit, signal: abort.signal })).rejects.toMatchObject({
    reason: 'CANCELLED',
  });
  abort.abort();
  await cancelled;
  expect(await readdir(staging.folder)).toEqual([]);
});

it('says when the disk fails', async () => {
  await rm(staging.folder, { recursive: true });
  await expect(staging.write('x', limit)).rejects.toMatchObject({ reason: 'STORE_UNAVAILABLE' });
});

it('takes only names that it made', async () => {
  for (const name of ['../secret', '/etc/passwd', '', 'z'.repeat(36)]) {
    expect(() => staging.path(name)).toThrow(expect.objectContaining({ reason: 'INVALID_INPUT' }));
  }
});
