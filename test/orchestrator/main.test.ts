import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { RagConfig } from '../../orchestrator/config.ts';
import { ragConfigSchema } from '../../orchestrator/config.ts';
import { errorBody } from '../../orchestrator/http/error-response.ts';
import type { RunningOrchestrator } from '../../orchestrator/main.ts';
import { run } from '../../orchestrator/main.ts';
import type { FakeModelServer } from './fake-model-server.ts';
import { startFakeModelServer } from './fake-model-server.ts';

const topics = ['honey', 'wing', 'batch', 'rank'];
let folder: string;
let server: FakeModelServer;
const running = new Set<RunningOrchestrator>();

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nereid-main-'));
  server = await startFakeModelServer();
  server.model.dimension = topics.length + 1;
  server.model.vector = (text) =>
    unit([0.1, ...topics.map((topic) => Number(text.toLowerCase().includes(topic)))]);
});
afterEach(async () => {
  for (const one of running) await one.destroy();
  running.clear();
  server.kill();
  await rm(folder, { recursive: true });
});

function unit(vector: number[]): number[] {
  const length = Math.hypot(...vector);
  return vector.map((value) => value / length);
}

async function start(settings: Partial<Record<keyof RagConfig, unknown>> = {}) {
  const config = ragConfigSchema.parse({
    port: 0,
    dataDir: folder,
    serverAddress: server.address,
    samples: false,
    logLevel: 'silent',
    ...settings,
  });
  const orchestrator = await run(config);
  running.add(orchestrator);
  return { ...orchestrator, url: `http://127.0.0.1:${orchestrator.port}` };
}

async function api(url: string, method = 'GET', body?: unknown) {
  const isForm = body instanceof FormData;
  const response = await fetch(url, {
    method,
    ...(body !== undefined && { body: isForm ? body : JSON.stringify(body) }),
    ...(body !== undefined && !isForm && { headers: { 'content-type': 'application/json' } }),
  });
  const text = await response.text();
  return { status: response.status, body: text.startsWith('{') ? JSON.parse(text) : text };
}

function file(name: string, content: string): FormData {
  const form = new FormData();
  form.append('file', new Blob([content]), name);
  return form;
}

const bees = 'Bees make honey. They store the honey in wax cells.';

describe('the whole path', () => {
  test('uploads, searches, answers, restarts, and deletes', async () => {
    const first = await start();
    const added = await api(`${first.url}/v1/documents?wait=true`, 'POST', file('bees.txt', bees));
    expect(added).toMatchObject({
      status: 200,
      body: { status: 'succeeded', documents: [{ source: 'bees.txt', status: 'ready' }] },
    });
    const { id } = added.body.documents[0];

    const found = await api(`${first.url}/v1/search`, 'POST', { query: 'honey' });
    expect(found).toMatchObject({ status: 200, body: { degraded: [], hits: [{ document_id: id }] } });
    const [hit] = found.body.hits;
    expect(bees.slice(hit.offsets.start, hit.offsets.end)).toBe(hit.text);

    const answered = await api(`${first.url}/v1/query`, 'POST', { question: 'Who makes honey?' });
    expect(answered).toMatchObject({ status: 200, body: { mode: 'extractive', found: true } });
    expect(answered.body.citations[0]).toMatchObject({ document_id: id });

    await first.close();
    const second = await start();
    expect(await api(`${second.url}/v1/documents`)).toMatchObject({
      body: { total: 1, documents: [{ id, status: 'ready' }] },
    });
    const again = await api(`${second.url}/v1/search`, 'POST', { query: 'honey' });
    expect(again.body.hits).toMatchObject([{ document_id: id }]);

    expect((await api(`${second.url}/v1/documents/${encodeURIComponent(id)}`, 'DELETE')).status).toBe(204);
    const gone = await api(`${second.url}/v1/search`, 'POST', { query: 'honey' });
    expect(gone.body.hits).toEqual([]);
  });

  test('an unreadable file fails alone', async () => {
    const { url } = await start();
    const form = file('broken.pdf', '');
    form.append('file', new Blob([bees]), 'bees.txt');
    const { status, body } = await api(`${url}/v1/documents?wait=true`, 'POST', form);
    expect(status).toBe(200);
    expect(body).toMatchObject({ status: 'partial', documents: [{ status: 'failed' }, { status: 'ready' }] });
    expect(body.documents[0].error.message).toMatch(/broken\.pdf|empty|no bytes/i);
    await vi.waitFor(async () => expect(await readdir(join(folder, 'staging'))).toEqual([]));
  });

  test('counts what it does', async () => {
    const { url } = await start();
    await api(`${url}/v1/documents?wait=true`, 'POST', file('bees.txt', bees));
    await api(`${url}/v1/search`, 'POST', { query: 'honey' });
    const { body } = await api(`${url}/metrics`);
    expect(body).toContain('nereid_rag_documents_total{status="ready"} 1');
    expect(body).toMatch(/nereid_rag_chunks_embedded_total [1-9]/);
    expect(body).toContain('nereid_rag_search_stage_seconds_count{stage="dense",mode="hybrid"} 1');
    expect(body).toContain('nereid_rag_unfinished_jobs 0');
  });
});

describe('starting', () => {
  test('goes on without the model server, and says so', async () => {
    server.kill();
    const { url } = await start();
    expect((await api(`${url}/healthz`)).status).toBe(200);
    const { status, body } = await api(`${url}/readyz`);
    expect(status).toBe(503);
    expect(body.parts).toMatchObject({
      model_server: { ready: false },
      vector_store: { ready: true },
      metadata_store: { ready: true },
    });
    expect(body.parts.model_server.message).toContain(server.address);
    server = await startFakeModelServer(server.port);
    await vi.waitFor(async () => expect((await api(`${url}/readyz`)).status).toBe(200), {
      timeout: 10_000,
      interval: 200,
    });
  });

  test('a second one on the same data folder is refused', async () => {
    await start();
    await expect(start()).rejects.toThrow(/in use by another orchestrator/);
  });

  test('a port that is taken is told with the flag to change it, and the data folder is let go', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await vi.waitFor(() => expect(other.listening).toBe(true));
    const { port } = other.address() as AddressInfo;
    await expect(start({ port })).rejects.toThrow(
      `Port ${port} on 127.0.0.1 is taken already. Stop what listens there, or choose another port with --port.`,
    );
    other.close();
    await start();
  });

  test('ingests the samples once, when there is nothing yet', async () => {
    const first = await start({ samples: true });
    const titles = await vi.waitFor(
      async () => {
        const { body } = await api(`${first.url}/v1/documents`);
        expect(body.documents.map(({ status }: { status: string }) => status)).toEqual([
          'ready',
          'ready',
          'ready',
        ]);
        return body.documents.map(({ title }: { title: string }) => title);
      },
      { timeout: 20_000, interval: 100 },
    );
    expect(titles).toContain('Dynamic batching in the model server');
    const id = encodeURIComponent('nereid/operations.md');
    expect((await api(`${first.url}/v1/documents/${id}`, 'DELETE')).status).toBe(204);
    await first.close();
    const second = await start({ samples: true });
    expect((await api(`${second.url}/v1/documents`)).body.total).toBe(2);
  });
});

describe('stopping', () => {
  test('waits for a running request, then for nothing', async () => {
    const orchestrator = await start();
    await api(`${orchestrator.url}/v1/documents?wait=true`, 'POST', file('bees.txt', bees));
    const [entered, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    server.model.before = async (method) => {
      if (method !== 'Embed') return;
      entered.resolve();
      await release.promise;
    };
    const found = api(`${orchestrator.url}/v1/search`, 'POST', { query: 'honey', mode: 'dense' });
    await entered.promise;
    const closed = orchestrator.close();
    release.resolve();
    expect((await found).status).toBe(200);
    await closed;
    await expect(fetch(orchestrator.url)).rejects.toThrow();
    await orchestrator.close();
  });

  test('tells a request that takes too long', async () => {
    const orchestrator = await start({ shutdownMs: 50 });
    await api(`${orchestrator.url}/v1/documents?wait=true`, 'POST', file('bees.txt', bees));
    const entered = Promise.withResolvers<void>();
    server.model.before = (method) => {
      if (method !== 'Embed') return;
      entered.resolve();
      return new Promise(() => undefined);
    };
    const found = api(`${orchestrator.url}/v1/search`, 'POST', {
      query: 'honey',
      mode: 'dense',
      rerank: false,
    });
    await entered.promise;
    await orchestrator.close();
    const { status, body } = await found;
    expect(status).toBe(503);
    expect(errorBody.parse(body).error.reason).toBe('STOPPING');
  });
});
