import { create, type DescMessage, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { afterEach } from 'vitest';
import type { ServingPort } from '../../model-server/api/ports.ts';
import { EmbedService } from '../../proto/gen/serving_pb.js';
import { type FakeServerOptions, fakeServing, startApi } from './fake-models.ts';

export const EMBED = `/${EmbedService.typeName}/Embed`;
export const JSON_TYPE = { 'content-type': 'application/json' };
export const PROTO_TYPE = { 'content-type': 'application/proto' };

/** Starts servers and sends them serving calls over HTTP; servers are closed after each test. */
export function servingOverHttp() {
  let api: Awaited<ReturnType<typeof startApi>> | undefined;
  afterEach(async () => {
    await api?.close();
    api = undefined;
  });
  const start = async (options: FakeServerOptions = {}) => {
    api = await startApi(options);
    return api;
  };
  const post = (path: string, body: string | Uint8Array<ArrayBuffer>, init: RequestInit = {}) =>
    fetch(`http://127.0.0.1:${api!.httpPort}${path}`, { method: 'POST', headers: JSON_TYPE, body, ...init });
  const embedJson = async (message: unknown, headers: Record<string, string> = {}) => {
    const reply = await post(EMBED, JSON.stringify(message), { headers: { ...JSON_TYPE, ...headers } });
    // What is in it is for the assertions to say.
    return { status: reply.status, headers: reply.headers, body: JSON.parse(await reply.text()) };
  };
  return { start, post, embedJson };
}

/** A message in binary. */
export function bytesOf<Schema extends DescMessage>(schema: Schema, message: MessageInitShape<Schema>) {
  return new Uint8Array(toBinary(schema, create(schema, message)));
}

export const ref = { name: 'mini', version: 2, space: 'ab12', dimension: 2 };
export const timings = { queueUs: 1, tokenizeUs: 2, computeUs: 3, postUs: 4 };
const facts = { tokens: 5, tokensUsed: 4, truncated: true, cached: false };
/** Every text has the vector [its length, -0.5]. */
export function embedding() {
  const seen: Parameters<ServingPort['embed']>[] = [];
  const embed: ServingPort['embed'] = async (...args) => {
    seen.push(args);
    const texts = args[1].map(() => facts);
    return { ref, vectors: args[1].map(({ length }) => new Float32Array([length, -0.5])), texts, timings };
  };
  return { seen, serving: fakeServing({ embed }) };
}
