import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { serverConfigSchema } from '../../model-server/config.ts';
import { type RunningServer, run as runModelServer } from '../../model-server/main.ts';
import { ragConfigSchema } from '../../orchestrator/config.ts';
import { type RunningOrchestrator, run as runOrchestrator } from '../../orchestrator/main.ts';
import { writeTextModel } from '../model-server/onnx-writer.ts';
import { temporaryFolder } from '../model-server/repository.ts';

const [repository, data] = [temporaryFolder(), temporaryFolder()];
let models: RunningServer;
let orchestrator: RunningOrchestrator;

beforeAll(async () => {
  writeTextModel(repository.path, 'tiny');
  const free = { grpcPort: 0, httpPort: 0, metricsPort: 0, logLevel: 'silent', instances: 1 };
  models = await runModelServer(serverConfigSchema.parse({ ...free, modelRepository: repository.path }));
  const serverAddress = `127.0.0.1:${models.grpcPort}`;
  const settings = { port: 0, dataDir: data.path, serverAddress, samples: false, logLevel: 'silent' };
  orchestrator = await runOrchestrator(ragConfigSchema.parse(settings));
});
afterAll(async () => {
  await orchestrator.close();
  await models.close();
  repository.remove();
  data.remove();
});

async function call(port: number, path: string, body?: object) {
  const headers = { 'content-type': 'application/json' };
  const post = body && { method: 'POST', headers, body: JSON.stringify(body) };
  const response = await fetch(`http://127.0.0.1:${port}${path}`, post);
  return { status: response.status, body: JSON.parse(await response.text()) };
}

const load = async (model: string) =>
  expect(await call(models.httpPort, '/nereid.admin.v1.AdminService/LoadModel', { model })).toMatchObject({
    status: 200,
  });

const ask = async (path: string, body: object) => (await call(orchestrator.port, path, body)).body;

test('models that join the repository leave a collection as it is; a cross-encoder takes over the reranking', async () => {
  const documents = [{ id: 'cat', text: 'the cat in the red warm water and one two three' }];
  const ingest = async (collection: string) =>
    (await ask('/v1/documents?wait=true', { collection, documents })).documents[0];
  expect(await ingest('first')).toMatchObject({ status: 'ready' });
  const search = { query: 'the cat', collection: 'first' };
  const alone = await ask('/v1/search', search);
  expect(alone).toMatchObject({ degraded: [], score_kind: 'fused_late_interaction' });

  writeTextModel(repository.path, 'wide', { seed: 2, width: 12 });
  await load('wide');
  expect(await call(orchestrator.port, '/readyz')).toMatchObject({
    status: 200,
    body: { parts: { model_server: { message: expect.stringContaining('tiny version 1') } } },
  });
  const beside = await ask('/v1/search', search);
  expect(beside).toMatchObject({ degraded: [], score_kind: 'fused_late_interaction' });
  expect(beside.hits).toEqual(alone.hits);
  const answer = await ask('/v1/query', { question: 'the cat', collection: 'first' });
  expect(answer).toMatchObject({ mode: 'extractive', degraded: [] });
  expect(await ingest('second')).toMatchObject({ status: 'ready' });
  const { collections } = (await call(orchestrator.port, '/v1/collections')).body;
  expect(collections.map(({ dimension }: { dimension: number }) => dimension)).toEqual([8, 8]);

  writeTextModel(repository.path, 'judge', { labels: 1 });
  await load('judge');
  // The probe asks the server afresh at most twice a second.
  await vi.waitFor(async () => {
    await call(orchestrator.port, '/readyz');
    const judged = await ask('/v1/search', search);
    expect(judged).toMatchObject({ degraded: [], score_kind: 'fused_cross_encoder' });
  }, 20_000);
});
