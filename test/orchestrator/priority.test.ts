import { afterEach, beforeEach, expect, it } from 'vitest';
import { type ModelServer, openModelServer } from '../../orchestrator/adapters/model-server.ts';
import { patientEmbedder } from '../../orchestrator/ingest/patient-embedder.ts';
import { type FakeModelServer, startFakeModelServer } from './fake-model-server.ts';

let server: FakeModelServer;
let client: ModelServer;
let told: [string, unknown][];
beforeEach(async () => {
  server = await startFakeModelServer();
  told = [];
  server.model.before = (method, call) =>
    void told.push([method, call.metadata.get('nereid-priority')[0]?.toString()]);
  client = openModelServer({ address: server.address, embedModel: '', rerankModel: '', connections: 1 });
});
afterEach(async () => {
  await client.destroy();
  server.kill();
});

it('what is ingested gives way to what somebody waits for', async () => {
  await client.embedder.embed(['a question']);
  await client.reranker.rerank('a question', ['a passage']);
  await patientEmbedder(client.embedder, {}).embed(['a chunk']);
  expect(told.filter(([method]) => method !== 'ListModels' && method !== 'Tokenize')).toEqual([
    ['Embed', 'interactive'],
    ['Rerank', 'interactive'],
    ['Embed', 'bulk'],
  ]);
});
