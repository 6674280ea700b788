import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { batchesOf } from '../../cli/ingest/upload.ts';
import { fakeOrchestrator, refuse } from './fake-orchestrator.ts';
import { nereid } from './spawned.ts';

function folderWith(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-ingest-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

test('batches keep the order and stay within both limits; a larger file stands alone', () => {
  const files = [3, 3, 3, 20, 1].map((bytes, index) => ({ path: '', name: String(index), bytes }));
  const batches = batchesOf(files, { files: 2, bytes: 10 });
  expect(batches.map((batch) => batch.map(({ name }) => name))).toEqual([['0', '1'], ['2'], ['3'], ['4']]);
});

test('uploads a folder, names each document by its path, and sums up', async () => {
  const cwd = folderWith({ 'docs/README.md': 'one', 'docs/sub/README.md': 'two', 'docs/.env': 'x' });
  const fake = await fakeOrchestrator({
    settle: (id) => (id === 'docs/README.md' ? { status: 'unchanged', embedded: 0 } : { pages: 7 }),
  });
  const { code, out, err } = await nereid(['ingest', 'docs', '--url', fake.url, '--collection', 'mine'], {
    cwd,
  });
  expect(code).toBe(0);
  expect(fake.uploads).toEqual([
    {
      collection: 'mine',
      documents: [
        { id: 'docs/README.md', file: 'README.md', text: 'one' },
        { id: 'docs/sub/README.md', file: 'README.md', text: 'two' },
      ],
    },
  ]);
  expect(err).toContain('skipped docs/.env: hidden');
  expect(err).toContain('1/2 unchanged docs/README.md');
  expect(out.split('\n')).toEqual([
    'FILE                STATUS     PAGES  CHUNKS  EMBEDDED',
    'docs/README.md      unchanged  -      1       0',
    'docs/sub/README.md  ready      7      1       1',
    '',
    '1 ready, 1 unchanged, 0 failed',
  ]);
});

test('one failed file is named with its reason, the others are in, and the exit code is 1', async () => {
  const cwd = folderWith({ 'good.md': 'good', 'bad.pdf': 'bad' });
  const error = { reason: 'DOCUMENT_ENCRYPTED', message: 'bad.pdf needs a password.' };
  const fake = await fakeOrchestrator({
    settle: (id) => (id?.endsWith('/bad.pdf') ? { status: 'failed', error } : { warnings: ['no title'] }),
  });
  const { code, out } = await nereid(['ingest', '.', '--url', fake.url], { cwd });
  expect(code).toBe(1);
  expect(out).toContain('/bad.pdf failed: DOCUMENT_ENCRYPTED: bad.pdf needs a password.');
  expect(out).toContain('good.md: no title');
  expect(out).toMatch(/1 ready, 0 unchanged, 1 failed$/);
});

test('a file above the limit or without permission is told and not sent', async () => {
  const cwd = folderWith({ 'big.txt': 'x'.repeat(100), 'small.txt': 'x' });
  const fake = await fakeOrchestrator();
  const env = { NEREID_MAX_UPLOAD_BYTES: '50' };
  const { code, out } = await nereid(['ingest', '.', '--url', fake.url, '--json'], { cwd, env });
  expect(code).toBe(1);
  const { documents, ready, failed } = JSON.parse(out);
  expect([ready, failed]).toEqual([1, 1]);
  expect(documents[0]).toMatchObject({
    id: expect.stringMatching(/^nereid-ingest-\w+\/big\.txt$/),
    status: 'failed',
    bytes: 100,
    error: { reason: 'TOO_LARGE' },
  });
  expect(documents[0].error.message).toBe(
    'it has 100 bytes and was not sent; the limit for one file is 50 (max-upload-bytes).',
  );
  expect(fake.uploads.flatMap((upload) => upload.documents.map(({ file }) => file))).toEqual(['small.txt']);
});

test.skipIf(process.getuid?.() === 0)('a file that may not be read fails alone', async () => {
  const cwd = folderWith({ 'locked.txt': 'x', 'open.txt': 'x' });
  chmodSync(join(cwd, 'locked.txt'), 0);
  const fake = await fakeOrchestrator();
  const { code, out } = await nereid(['ingest', '.', '--url', fake.url], { cwd });
  expect(code).toBe(1);
  expect(out).toMatch(/locked\.txt failed: UNREADABLE: .*EACCES/);
});

test('a batch that is too large for the orchestrator is sent file by file', async () => {
  const cwd = folderWith({ 'a.txt': 'x'.repeat(5_000), 'b.txt': 'y', 'c.txt': 'z' });
  const fake = await fakeOrchestrator({ maxRequestBytes: 3_000 });
  const { code, out } = await nereid(['ingest', '.', '--url', fake.url], { cwd });
  expect(code).toBe(1);
  expect(fake.uploads.map((upload) => upload.documents.map(({ file }) => file))).toEqual([
    ['b.txt'],
    ['c.txt'],
  ]);
  expect(out).toMatch(/a\.txt failed: TOO_LARGE: The upload has \d+ bytes\./);
  expect(out).toContain('2 ready, 0 unchanged, 1 failed');
});

test('a full queue is waited for', async () => {
  const cwd = folderWith({ 'a.txt': 'x' });
  const fake = await fakeOrchestrator({ fullFor: 2 });
  expect((await nereid(['ingest', '.', '--url', fake.url], { cwd })).code).toBe(0);
  expect(fake.uploads).toHaveLength(1);
});

test('when the orchestrator stops halfway, the summary says what is in and what is not', async () => {
  const cwd = folderWith(
    Object.fromEntries(
      Array.from({ length: 20 }, (_, index) => [`${String(index).padStart(2, '0')}.txt`, 'x']),
    ),
  );
  const fake = await fakeOrchestrator({
    handle: (request, response) => {
      const stops = request.url === '/v1/documents' && fake.uploads.length === 1;
      if (stops) refuse(response, 503, 'STOPPING', 'The orchestrator is shutting down.');
      return stops;
    },
  });
  const { code, out } = await nereid(['ingest', '.', '--url', fake.url], { cwd });
  expect(code).toBe(1);
  expect(out).toContain('16 ready, 0 unchanged, 4 failed');
  expect(out).toContain('19.txt failed: STOPPING: The orchestrator is shutting down.');
});

test('a lost event stream is opened again, and the files that were settled meanwhile are counted', async () => {
  let streams = 0;
  const fake = await fakeOrchestrator({
    handle: (request, response) => {
      if (!request.url!.endsWith('/events') || ++streams > 1) return false;
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': the orchestrator is killed now\n\n', () => response.destroy());
      return true;
    },
  });
  const folder = folderWith({ 'a.md': 'a', 'b.md': 'b' });
  const { code, out } = await nereid(['ingest', '--url', fake.url, folder]);
  expect(out).toContain('2 ready, 0 unchanged, 0 failed');
  expect(code).toBe(0);
  expect(streams).toBe(2);
  expect(fake.uploads).toHaveLength(1);
});
