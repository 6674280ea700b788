import { fromJson } from '@bufbuild/protobuf';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { serverConfigSchema } from '../../model-server/config.ts';
import { type RunningServer, run } from '../../model-server/main.ts';
import {
  EmbedRequestSchema,
  type EmbedResponse,
  EmbedResponseSchema,
  RerankResponseSchema,
} from '../../proto/gen/serving_pb.js';
import { TestClient } from './grpc-client.ts';
import { shippedRepository } from './repository.ts';
import { EMBED, JSON_TYPE } from './serving-http-setup.ts';

let server: RunningServer;
let client: TestClient;
beforeAll(async () => {
  const free = { grpcPort: 0, httpPort: 0, metricsPort: 0, logLevel: 'silent', maxMessageBytes: 10_000 };
  server = await run(serverConfigSchema.parse({ ...free, modelRepository: shippedRepository }));
  client = new TestClient(server.grpcPort);
});
afterAll(async () => {
  client.close();
  await server.close();
});
const post = async (path: string, message: object, headers: Record<string, string> = {}) => {
  const init = { method: 'POST', headers: { ...JSON_TYPE, ...headers }, body: JSON.stringify(message) };
  const reply = await fetch(`http://127.0.0.1:${server.httpPort}${path}`, init);
  return { status: reply.status, body: JSON.parse(await reply.text()) };
};

const vectorsOf = ({ embeddings }: EmbedResponse) =>
  embeddings.map(({ packed, tokens }) => [Buffer.from(packed).toString('hex'), tokens]);

it('gives the same vectors over HTTP as over gRPC, computed or not', async () => {
  const inputs = ['What is dynamic batching?', '', 'naïve 漢字 [SEP] 🙂'];
  for (const noCache of [true, false]) {
    const overHttp = await post(EMBED, { inputs, noCache });
    const http = fromJson(EmbedResponseSchema, overHttp.body);
    const grpc = await client.call(EMBED, [EmbedRequestSchema, EmbedResponseSchema], { inputs, noCache });
    expect(http.model).toEqual(grpc.model);
    expect(vectorsOf(http)).toEqual(vectorsOf(grpc));
  }
});

it('reranks', async () => {
  const documents = ['Bread is baked in an oven.', 'Batches are formed while all instances are busy.'];
  const message = { query: 'How are batches formed?', documents };
  const { body } = await post('/nereid.serving.v1.RerankService/Rerank', message);
  expect(fromJson(RerankResponseSchema, body).results.map(({ index }) => index)).toEqual([1, 0]);
});

it('refuses as gRPC does: a model that there is not, and a message above the limit', async () => {
  expect(await post(EMBED, { model: 'nobody', inputs: ['a'] })).toMatchObject({
    status: 404,
    body: { code: 'not_found', reason: 'MODEL_NOT_FOUND' },
  });
  expect(await post(EMBED, { inputs: ['a'.repeat(10_000)] })).toMatchObject({
    status: 413,
    body: { reason: 'INPUT_TOO_LONG' },
  });
});
