import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { FakeModelServer } from './fake-model-server.ts';
import { startFakeModelServer } from './fake-model-server.ts';

const program = fileURLToPath(new URL('./run-orchestrator.ts', import.meta.url));
let folder: string;
let server: FakeModelServer;
const children = new Set<ChildProcess>();

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nereid-crash-'));
  server = await startFakeModelServer();
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
  server.kill();
  await rm(folder, { recursive: true });
});

/** The orchestrator in a process of its own. */
async function start() {
  const settings = {
    port: 0,
    dataDir: folder,
    serverAddress: server.address,
    samples: false,
    logLevel: 'silent',
    chunkTokens: 16,
    chunkOverlapTokens: 0,
  };
  const args = ['--disable-warning=ExperimentalWarning', program, JSON.stringify(settings)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.add(child);
  const died = once(child, 'exit').then(() => Promise.reject(new Error('the orchestrator did not start')));
  died.catch(() => undefined);
  const [port] = await Promise.race([once(createInterface(child.stdout), 'line'), died]);
  return { child, url: `http://127.0.0.1:${port}` };
}

const names = ['a', 'b', 'c', 'd'];
/** Several chunks each; the word of a document stands in every sentence. */
const documents = ['done', ...names].map((id) => ({
  id,
  text: Array.from(
    { length: 12 },
    (_, n) => `Sentence ${n} is about zebra${id} and about what zebra${id} did.`,
  ).join(' '),
}));

async function json(url: string, body?: unknown) {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(
    url,
    body === undefined ? {} : { method: 'POST', headers, body: JSON.stringify(body) },
  );
  return response.json() as Promise<{
    job_id: string;
    status: string;
    total: number;
    documents: { id: string; status: string; chunks: number }[];
    hits: { document_id: string }[];
  }>;
}

/** Chunks that a search for a document's own word finds of it. */
async function visibleChunks(url: string, id: string): Promise<number> {
  const { hits } = await json(`${url}/v1/search`, {
    query: `zebra${id}`,
    mode: 'keyword',
    rerank: false,
    top_k: 100,
  });
  return hits.filter(({ document_id }) => document_id === id).length;
}

const killPoints = [1, 2, 3, 5, 8];

test.each(killPoints)(
  'killed at call %i to the model server, it loses no document and shows no half one',
  async (killAt) => {
    const first = await start();
    const [done, ...others] = documents;
    await json(`${first.url}/v1/documents?wait=true`, { documents: [done] });
    let calls = 0;
    const killed = once(first.child, 'exit');
    const accepted = Promise.withResolvers<void>();
    server.model.before = async (method) => {
      // Calls that only ask which model there is are not part of the work.
      if (method === 'ListModels') return;
      calls += 1;
      if (calls < killAt) return;
      await accepted.promise;
      first.child.kill('SIGKILL');
      await killed;
    };
    const { job_id } = await json(`${first.url}/v1/documents`, { documents: others });
    accepted.resolve();
    await killed;
    // Now the restart gets stuck in its first call, so that what is visible is what the killed process had finished.
    const gate = Promise.withResolvers<void>();
    server.model.before = (method) => (method === 'ListModels' ? undefined : gate.promise);
    const second = await start();
    const { documents: known } = await json(`${second.url}/v1/documents`);
    for (const { id } of documents) {
      const ready = known.find((document) => document.id === id && document.status === 'ready');
      const visible = await visibleChunks(second.url, id);
      if (ready) expect(visible).toBe(ready.chunks);
      else expect(visible).toBe(0);
    }
    expect(known).toContainEqual(expect.objectContaining({ id: 'done', status: 'ready' }));
    gate.resolve();
    await vi.waitFor(
      async () => {
        const { status } = await json(`${second.url}/v1/jobs/${job_id}`);
        expect(status).toBe('succeeded');
      },
      { timeout: 20_000, interval: 50 },
    );
    const finished = await json(`${second.url}/v1/documents`);
    expect(finished.documents.map(({ id, status }) => `${id} ${status}`).toSorted()).toEqual(
      documents.map(({ id }) => `${id} ready`).toSorted(),
    );
    for (const { id, chunks } of finished.documents) {
      expect(chunks).toBeGreaterThan(3);
      expect(await visibleChunks(second.url, id)).toBe(chunks);
    }
    await vi.waitFor(async () => expect(await readdir(join(folder, 'staging'))).toEqual([]));
  },
);

test('killed in the middle of an upload, it starts again with nothing of it', async () => {
  const first = await start();
  const type = 'multipart/form-data; boundary=xx';
  const request = httpRequest(`${first.url}/v1/documents`, {
    method: 'POST',
    headers: { 'content-type': type },
  });
  request.on('error', () => undefined);
  request.write(
    `--xx\r\ncontent-disposition: form-data; name="file"; filename="big.txt"\r\n\r\n${'a '.repeat(50_000)}`,
  );
  await vi.waitFor(async () => expect(await readdir(join(folder, 'staging'))).toHaveLength(1));
  const killed = once(first.child, 'exit');
  first.child.kill('SIGKILL');
  await killed;
  const second = await start();
  expect(await readdir(join(folder, 'staging'))).toEqual([]);
  expect((await json(`${second.url}/v1/documents`)).total).toBe(0);
});
