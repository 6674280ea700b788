import diagnostics from 'node:diagnostics_channel';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { deflateSync } from 'node:zlib';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { DocumentReader, type DocumentReaderOptions } from '../../orchestrator/ingest/document-reader.ts';
import { tinyPdf } from './tiny-pdf.ts';

const misbehaving = new URL('../fixtures/reader-workers/misbehaving.ts', import.meta.url);

let workers: Worker[];
let readers: DocumentReader[];
let folder: string;

function onWorker(message: unknown): void {
  workers.push((message as { worker: Worker }).worker);
}

beforeEach(async () => {
  workers = [];
  readers = [];
  folder = await mkdtemp(join(tmpdir(), 'nereid-reader-'));
  diagnostics.subscribe('worker_threads', onWorker);
});

afterEach(async () => {
  diagnostics.unsubscribe('worker_threads', onWorker);
  await Promise.all(readers.map((reader) => reader.close()));
  await rm(folder, { recursive: true, force: true });
});

function open(options: Partial<DocumentReaderOptions> = {}): DocumentReader {
  const reader = new DocumentReader({ timeoutMs: 30_000, memoryMb: 64, ...options });
  readers.push(reader);
  return reader;
}

async function file(name: string, bytes: Uint8Array | string): Promise<{ path: string; name: string }> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return { path, name };
}

const text = { path: '', name: 'fine' };

it.each([
  ['exit', /exit stopped its reader/],
  ['throw', /throw made its reader fail: the parser broke/],
  ['heap', /heap takes more than 64 MB of memory/],
  ['buffers', /buffers takes more than 64 MB of memory/],
])('a file that makes its worker die (%s) is unreadable, and the next one is read', async (name, message) => {
  const reader = open({ worker: misbehaving });
  await expect(reader.read({ path: '', name })).rejects.toMatchObject({
    reason: 'DOCUMENT_UNREADABLE',
    message: expect.stringMatching(message),
  });
  await expect(reader.read(text)).resolves.toMatchObject({ text: 'fine' });
});

it('gives up a file that takes too long', async () => {
  const reader = open({ worker: misbehaving, timeoutMs: 200 });
  await expect(reader.read({ path: '', name: 'spin' })).rejects.toMatchObject({
    reason: 'DOCUMENT_UNREADABLE',
    message: 'Reading spin takes more than 0.2 s. Split it, or raise read-timeout-ms.',
  });
});

it('stops reading when the signal aborts, and ends that worker', async () => {
  const reader = open({ worker: misbehaving });
  const abort = new AbortController();
  const reading = reader.read({ path: '', name: 'spin' }, { signal: abort.signal });
  await vi.waitFor(() => expect(workers).toHaveLength(1), 20_000);
  abort.abort();
  await expect(reading).rejects.toMatchObject({ reason: 'CANCELLED' });
  expect(workers[0]?.threadId).toBe(-1);
});

it('uses one worker for files that come one after the other, and ends it when it has nothing to do', async () => {
  const reader = open({ idleMs: 50 });
  const page = await file('a.md', '# Title\n\nText.');
  expect((await reader.read(page)).title).toBe('Title');
  expect((await reader.read(page)).title).toBe('Title');
  expect(workers).toHaveLength(1);
  await once(workers[0]!, 'exit');
  expect((await reader.read(page)).title).toBe('Title');
  expect(workers).toHaveLength(2);
});

it('reads files at the same time in workers of their own', async () => {
  const reader = open({ worker: misbehaving });
  const abort = new AbortController();
  const stuck = reader.read({ path: '', name: 'spin' }, { signal: abort.signal });
  await expect(reader.read(text)).resolves.toMatchObject({ text: 'fine' });
  abort.abort();
  await expect(stuck).rejects.toMatchObject({ reason: 'CANCELLED' });
});

it('lets files wait for their turn, from where they can be cancelled', async () => {
  const reader = open({ worker: misbehaving, maxWorkers: 1 });
  const running = new AbortController();
  const waiting = new AbortController();
  const stuck = reader.read({ path: '', name: 'spin' }, { signal: running.signal });
  const cancelled = reader.read(text, { signal: waiting.signal });
  const next = reader.read(text);
  waiting.abort();
  await expect(cancelled).rejects.toMatchObject({ reason: 'CANCELLED' });
  expect(workers).toHaveLength(1);
  running.abort();
  await expect(stuck).rejects.toMatchObject({ reason: 'CANCELLED' });
  await expect(next).resolves.toMatchObject({ text: 'fine' });
});

it('ends reads that run when it is closed, and refuses new ones', async () => {
  const reader = open({ worker: misbehaving });
  const stuck = reader.read({ path: '', name: 'spin' });
  const failed = expect(stuck).rejects.toMatchObject({ reason: 'STOPPING' });
  await vi.waitFor(() => expect(workers).toHaveLength(1), 20_000);
  await reader.close();
  await failed;
  await expect(reader.read(text)).rejects.toMatchObject({ reason: 'STOPPING' });
  await reader.close();
});

it('tells of the pages as they are read', async () => {
  const pages: number[][] = [];
  const pdf = await file('a.pdf', tinyPdf([[{ text: 'One.', y: 700 }], [{ text: 'Two.', y: 700 }]]));
  await open().read(pdf, { onPage: (done, total) => pages.push([done, total]) });
  expect(pages).toEqual([
    [1, 2],
    [2, 2],
  ]);
});

it('keeps a small file that unpacks to more than its memory from taking it', async () => {
  const packed = deflateSync(deflateSync(Buffer.alloc(400_000_000, 'BT (x) Tj ET ')));
  const bomb = await file('bomb.pdf', tinyPdf([{ bytes: packed, filter: '[/FlateDecode /FlateDecode]' }]));
  expect(packed.byteLength).toBeLessThan(50_000);
  await expect(open().read(bomb)).rejects.toMatchObject({
    reason: 'DOCUMENT_UNREADABLE',
    message: expect.stringContaining('more than 64 MB'),
  });
});
