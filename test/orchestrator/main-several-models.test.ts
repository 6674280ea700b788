import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type RagConfig, ragConfigSchema } from '../../orchestrator/config.ts';
import { type RunningOrchestrator, run } from '../../orchestrator/main.ts';
import type { FakeModelServer, FakeVersion } from './fake-model-server.ts';
import { crossEncoder, fakeVersion, startFakeModelServer } from './fake-model-server.ts';
import { says, startStubLlm } from './stub-llm.ts';

let folder: string;
let server: FakeModelServer;
const running = new Set<RunningOrchestrator>();
/** Its vectors say for a text whether it speaks of bees, in another length than those of `mini`. */
let other: FakeVersion;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nereid-several-'));
  server = await startFakeModelServer();
  const about = (text: string) => (/honey/i.test(text) ? [1, 0] : [0, 1]);
  server.model.vector = (text) => [...about(text), 0];
  const vector = (text: string) => [...about(text), 0, 0];
  other = fakeVersion(1, { name: 'other', space: 'other-space', dimension: 4, vector });
});
afterEach(async () => {
  for (const one of running) await one.destroy();
  running.clear();
  server.kill();
  await rm(folder, { recursive: true });
});

async function start(settings: Partial<Record<keyof RagConfig, unknown>> = {}) {
  const fixed = { port: 0, dataDir: folder, serverAddress: server.address, samples: false };
  const config = ragConfigSchema.parse({ ...fixed, logLevel: 'silent', ...settings });
  const orchestrator = await run(config);
  running.add(orchestrator);
  const call = async (path: string, body?: object) => {
    const headers = { 'content-type': 'application/json' };
    const post = body && { method: 'POST', headers, body: JSON.stringify(body) };
    const response = await fetch(`http://127.0.0.1:${orchestrator.port}${path}`, post);
    return { status: response.status, body: JSON.parse(await response.text()) };
  };
  const ingest = async (collection: string) => {
    const documents = [{ id: 'bees', text: bees }];
    const { body } = await call('/v1/documents?wait=true', { collection, documents });
    return body.documents[0];
  };
  const ready = async () => {
    const { status, body } = await call('/readyz');
    return { status, message: body.parts.model_server.message };
  };
  return { ...orchestrator, call, ingest, ready };
}

const bees = 'The bees of this valley make honey from May on. They store the honey in cells of wax.';
const asked = (method: string) =>
  server.calls.filter((call) => call.method === method).map(({ model }) => model);

describe('a second embedder', () => {
  test('changes nothing for a collection: it is searched, reranked, answered from and filled as before', async () => {
    const { call, ingest, ready } = await start();
    expect(await ingest('default')).toMatchObject({ status: 'ready' });
    const search = { query: 'honey' };
    const before = await call('/v1/search', search);
    server.model.others = [other];
    expect(await ready()).toEqual({ status: 200, message: 'mini version 1, space space-1' });
    server.calls.length = 0;

    const found = await call('/v1/search', search);
    const { timings: _, ...told } = found.body;
    expect(told).toMatchObject({ degraded: [], score_kind: 'fused_late_interaction' });
    expect(told).not.toHaveProperty('space');
    expect(told.hits).toEqual(before.body.hits);
    expect(asked('Rerank')).toEqual(['mini']);

    const answered = await call('/v1/query', { question: 'Who makes honey?' });
    expect(answered.body).toMatchObject({ mode: 'extractive', found: true, degraded: [] });
    expect(new Set(asked('Embed'))).toEqual(new Set(['mini']));
    expect(asked('Tokenize')).toEqual([]);

    expect(await ingest('second')).toMatchObject({ status: 'ready' });
    const { collections } = (await call('/v1/collections')).body;
    expect(collections.map(({ space }: { space: string }) => space)).toEqual(['space-1', 'space-1']);
  });

  test('changes nothing after a restart either', async () => {
    const first = await start();
    await first.ingest('default');
    await first.close();
    server.model.others = [other];
    const { call, ready } = await start();
    const answered = await call('/v1/query', { question: 'Who makes honey?' });
    expect(answered.body).toMatchObject({ found: true, degraded: [] });
    expect((await ready()).status).toBe(200);
  });

  test('has collections of its own when it is named, and each is answered from by its own model', async () => {
    const first = await start();
    await first.ingest('default');
    await first.close();
    server.model.others = [other];
    const { call, ingest, ready } = await start({ embedModel: 'other' });
    expect((await ready()).message).toContain('other version 1');
    expect(await ingest('second')).toMatchObject({ status: 'ready' });
    for (const [collection, model] of Object.entries({ default: 'mini', second: 'other' })) {
      server.calls.length = 0;
      const { body } = await call('/v1/query', { question: 'Who makes honey?', collection });
      expect(body).toMatchObject({ found: true, degraded: [] });
      expect(new Set([...asked('Embed'), ...asked('Rerank')])).toEqual(new Set([model]));
    }
  });

  test('leaves a server ready whose collections are served, though nothing says what new ones take', async () => {
    const first = await start();
    await first.ingest('default');
    await first.close();
    server.model.others = [other];
    const second = await start({ embedModel: 'other' });
    await second.ingest('second');
    await second.close();
    const { ingest, ready, call } = await start();
    const { status, message } = await ready();
    expect(status).toBe(200);
    expect(message).toMatch(
      /^all collections .*mini version 1.* and other version 1.*new ones .*--embed-model/,
    );
    const document = await ingest('third');
    expect(document).toMatchObject({ status: 'failed', error: { reason: 'MODEL_SERVER_REFUSED' } });
    expect(document.error.message).toMatch(/mini, other.*--embed-model/);
    expect((await call('/v1/search', { query: 'honey', collection: 'second' })).body.degraded).toEqual([]);
  });

  test('makes a server that has no collection say what to set', async () => {
    server.model.others = [other];
    const { ready } = await start();
    const { status, message } = await ready();
    expect(status).toBe(503);
    expect(message).toMatch(/mini, other.*--embed-model/);
  });

  test('answers instead where words are searched for and the model of the collection has gone', async () => {
    const { call, ingest } = await start();
    await ingest('default');
    Object.assign(server.model, other);
    const question = { question: 'Who makes honey?', mode: 'keyword' };
    expect((await call('/v1/query', question)).body).toMatchObject({ found: true, degraded: [] });
  });
});

test('a cross-encoder reranks every collection, and nothing else', async () => {
  const { call, ingest } = await start();
  await ingest('default');
  server.model.others = [other, crossEncoder('cross')];
  await call('/readyz');
  server.calls.length = 0;
  const { body } = await call('/v1/query', { question: 'Who makes honey?' });
  expect(body).toMatchObject({ found: true, degraded: [] });
  expect(asked('Rerank')).toEqual(['cross']);
  expect(new Set(asked('Embed'))).toEqual(new Set(['mini']));
});

test("the tokens of a prompt are counted as the collection's model counts them", async () => {
  const stub = await startStubLlm();
  stub.reply(says('They make honey [1].'));
  const { call, ingest } = await start({ llmBaseUrl: stub.baseUrl, llmModel: 'stub-1' });
  await ingest('default');
  server.model.others = [other];
  server.calls.length = 0;
  const { body } = await call('/v1/query', { question: 'Who makes honey?' });
  expect(body).toMatchObject({ mode: 'llm', degraded: [] });
  expect(asked('Tokenize')).toEqual(['mini']);
  await vi.waitFor(() => expect(stub.requests).toHaveLength(1));
  await stub.close();
});
