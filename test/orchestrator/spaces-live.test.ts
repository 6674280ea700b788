import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { serverConfigSchema } from '../../model-server/config.ts';
import { type RunningServer, run as runModelServer } from '../../model-server/main.ts';
import { ragConfigSchema } from '../../orchestrator/config.ts';
import { type RunningOrchestrator, run as runOrchestrator } from '../../orchestrator/main.ts';
import { writeTextModel } from '../model-server/onnx-writer.ts';
import { temporaryFolder } from '../model-server/repository.ts';

const [repository, data] = [temporaryFolder(), temporaryFolder()];
let models: RunningServer;
let orchestrator: RunningOrchestrator;

/** Two versions of one model, whose vectors differ in space and length; version 1 answers, both are served. */
beforeAll(async () => {
  const folder = writeTextModel(repository.path, 'tiny', { version: 1 });
  writeTextModel(repository.path, 'tiny', { version: 2, seed: 2, width: 12 });
  writeFileSync(join(folder, 'config.pbtxt'), 'version_policy { all {} }');
  const plan = 'default: stable\nmixed_spaces: allowed\naliases:\n  stable: { 1: 100 }\n';
  writeFileSync(join(folder, 'rollout.yaml'), plan);
  const free = { grpcPort: 0, httpPort: 0, metricsPort: 0, logLevel: 'silent', instances: 1 };
  models = await runModelServer(serverConfigSchema.parse({ ...free, modelRepository: repository.path }));
  orchestrator = await runOrchestrator(
    ragConfigSchema.parse({
      port: 0,
      dataDir: data.path,
      serverAddress: `127.0.0.1:${models.grpcPort}`,
      samples: false,
      logLevel: 'silent',
    }),
  );
});
afterAll(async () => {
  await orchestrator.close();
  await models.close();
  repository.remove();
  data.remove();
});

async function post(port: number, path: string, body: object) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: JSON.parse(await response.text()) };
}

const admin = async (method: string, body: object) =>
  expect(await post(models.httpPort, `/nereid.admin.v1.AdminService/${method}`, body)).toMatchObject({
    status: 200,
  });
const setTraffic = (weights: object) => admin('SetTraffic', { model: 'tiny', alias: 'stable', weights });

async function ingest(collection: string, id: string, text: string) {
  const documents = [{ id, title: id, text }];
  const { status, body } = await post(orchestrator.port, '/v1/documents?wait=true', {
    collection,
    documents,
  });
  return { status, document: body.documents?.[0], body };
}

async function find(collection: string, query: string) {
  const request = { query, collection, mode: 'dense', rerank: false };
  const { status, body } = await post(orchestrator.port, '/v1/search', request);
  return { status, ids: body.hits?.map((hit: { document_id: string }) => hit.document_id), body };
}

const texts = { cat: 'the cat in the red', dog: 'a dog and blue water', hello: 'hello world one two three' };

test('collections of two versions are filled and searched side by side, however traffic moves', async () => {
  const fill = async (collection: string, ids: (keyof typeof texts)[]) => {
    for (const id of ids) {
      const { document } = await ingest(collection, id, texts[id]);
      expect(document, `${collection} ${id}`).toMatchObject({ id, status: 'ready' });
    }
  };
  const findEach = async (collection: string, ids: (keyof typeof texts)[]) => {
    for (const id of ids) {
      const found = await find(collection, `${id} ${texts[id]}`);
      expect(found, `${collection} ${id}`).toMatchObject({ status: 200, body: { degraded: [] } });
      expect(found.ids[0], `${collection} ${id}`).toBe(id);
    }
  };
  await fill('first', ['cat', 'dog']);
  await setTraffic({ 2: 100 });
  await fill('second', ['dog', 'hello']);
  await fill('first', ['hello']);
  await findEach('first', ['cat', 'dog', 'hello']);
  await findEach('second', ['dog', 'hello']);

  await setTraffic({ 1: 50, 2: 50 });
  await fill('second', ['cat']);
  await findEach('first', ['cat', 'dog', 'hello']);
  await findEach('second', ['cat', 'dog', 'hello']);
  expect((await ingest('first', 'cat', texts.cat)).document).toMatchObject({ status: 'unchanged' });

  const collections = await fetch(`http://127.0.0.1:${orchestrator.port}/v1/collections`);
  const { collections: infos } = (await collections.json()) as { collections: { dimension: number }[] };
  expect(infos.map(({ dimension }) => dimension).toSorted((a, b) => a - b)).toEqual([8, 12]);
});

test('a collection whose version is served no more is refused, and the other one goes on', async () => {
  await setTraffic({ 2: 100 });
  const config = JSON.stringify({ version_policy: { specific: { versions: [2] } } });
  await admin('LoadModel', { model: 'tiny', config });
  const refused = await find('first', 'cat');
  expect(refused).toMatchObject({ status: 409, body: { error: { reason: 'SPACE_MISMATCH' } } });
  expect(refused.body.error.message).toMatch(/"first".*tiny version 2/);
  const { document } = await ingest('first', 'late', 'warm up');
  expect(document).toMatchObject({ status: 'failed', error: { reason: 'SPACE_MISMATCH' } });
  expect((await find('second', 'dog')).status).toBe(200);
});
