import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import type { ServingPort } from '../../model-server/api/ports.ts';
import {
  EmbedRequestSchema,
  EmbedResponseSchema,
  EmbedService,
  ModelService,
  RerankService,
} from '../../proto/gen/serving_pb.js';
import { fakeServing } from './fake-models.ts';
import {
  bytesOf,
  EMBED,
  embedding,
  JSON_TYPE,
  PROTO_TYPE,
  ref,
  servingOverHttp,
  timings,
} from './serving-http-setup.ts';

const { start, post, embedJson } = servingOverHttp();

describe('serving calls as POST', () => {
  it('Embed with JSON: packed vectors in base64, or floats', async () => {
    const { seen, serving } = embedding();
    const { calls } = await start({ serving });
    const packed = await embedJson({ inputs: ['a', 'bcd'], model: 'mini', truncate: 'TRUNCATE_ERROR' });
    expect([packed.status, packed.headers.get('content-type')]).toEqual([200, 'application/json']);
    expect(packed.body).toMatchObject({
      model: { name: 'mini', version: 2, space: 'ab12' },
      dimension: 2,
      embeddings: [{ tokens: 5, tokensUsed: 4, truncated: true, cached: false }, {}],
      timings: { queueUs: 1, computeUs: 3 },
    });
    const bytes = Buffer.from(packed.body.embeddings[1].packed, 'base64');
    expect([bytes.readFloatLE(0), bytes.readFloatLE(4)]).toEqual([3, -0.5]);
    const floats = await embedJson({ inputs: ['a'], encoding: 'VECTOR_ENCODING_FLOATS' });
    expect(floats.body.embeddings[0]).toMatchObject({ packed: '', values: [1, -0.5] });
    expect(seen[0]).toMatchObject([
      { model: 'mini', version: 0, task: 'embed' },
      ['a', 'bcd'],
      { truncate: 'error', priority: undefined, tenant: '', deadlineMs: undefined },
    ]);
    expect(calls).toMatchObject([
      { method: 'Embed', reason: 'OK' },
      { method: 'Embed', reason: 'OK' },
    ]);
  });

  it('Embed with protobuf, the answer too', async () => {
    await start({ serving: embedding().serving });
    const body = bytesOf(EmbedRequestSchema, { inputs: ['abcd'] });
    const reply = await post(EMBED, body, { headers: PROTO_TYPE });
    expect([reply.status, reply.headers.get('content-type')]).toEqual([200, 'application/proto']);
    const message = fromBinary(EmbedResponseSchema, new Uint8Array(await reply.arrayBuffer()));
    expect(message.model).toMatchObject({ name: 'mini', space: 'ab12' });
    expect(message.embeddings[0]!.packed).toEqual(new Uint8Array(new Float32Array([4, -0.5]).buffer));
  });

  it('Tokenize, Rerank and ListModels', async () => {
    const encoded = { row: { ids: new Int32Array(3) }, tokens: 3, truncated: false };
    const tokenize: ServingPort['tokenize'] = async () => ({
      ref,
      ids: [[7, 8]],
      maxTokens: 256,
      specialTokens: 2,
    });
    const rerank: ServingPort['rerank'] = async (_, { documents }) => ({
      ref,
      kind: 'late_interaction',
      results: documents.map((_document, index) => ({ score: 0.5, rawScore: index / 4, encoded })),
      timings,
    });
    const { calls } = await start({ serving: fakeServing({ tokenize, rerank }) });
    const ask = async (path: string, message: unknown) => (await post(path, JSON.stringify(message))).json();
    expect(await ask(`/${EmbedService.typeName}/Tokenize`, { inputs: ['x'], withIds: true })).toMatchObject({
      results: [{ count: 2, ids: [7, 8] }],
      maxTokens: 256,
    });
    expect(
      await ask(`/${RerankService.typeName}/Rerank`, { query: 'q', documents: ['a', 'b'], topN: 1 }),
    ).toMatchObject({
      kind: 'SCORE_KIND_LATE_INTERACTION',
      results: [{ index: 1, rawScore: 0.25 }],
    });
    expect(await ask(`/${ModelService.typeName}/ListModels`, {})).toMatchObject({
      serverVersion: '1.2.3',
      models: [{ name: 'mini' }, { state: 'failed' }],
    });
    expect(calls.map(({ method }) => method)).toEqual(['Tokenize', 'Rerank', 'ListModels']);
  });

  it('headers say until when, for whom, how urgently and with whose version', async () => {
    const { seen, serving } = embedding();
    await start({ serving });
    const before = Date.now();
    await embedJson(
      { inputs: ['a'] },
      {
        'connect-timeout-ms': '5000',
        'Nereid-Priority': 'bulk',
        'nereid-tenant': 'acme',
        'nereid-sticky-key': 'user 7',
      },
    );
    const after = Date.now();
    const [target, , options] = seen[0]!;
    expect(target.stickyKey).toBe('user 7');
    expect([options.priority, options.tenant]).toEqual(['bulk', 'acme']);
    expect(options.deadlineMs).toBeGreaterThanOrEqual(before + 5000);
    expect(options.deadlineMs).toBeLessThanOrEqual(after + 5000);
    await embedJson({ inputs: ['a'] }, { authorization: 'Bearer one' });
    await embedJson({ inputs: ['a'] }, { 'x-api-key': 'two' });
    const tenants = seen.slice(1).map(([, , { tenant }]) => tenant);
    expect(new Set(tenants).size).toBe(2);
    for (const tenant of tenants) expect(tenant).toMatch(/^[\w-]{43}$/);
  });
});

describe('what is refused', () => {
  const bad: [string, string | Uint8Array<ArrayBuffer>, Record<string, string>, number, RegExp][] = [
    ['no JSON', '{"inputs": ', {}, 400, /no valid nereid.serving.v1.EmbedRequest/],
    ['an unknown field', '{"texts": ["a"]}', {}, 400, /texts/],
    ['no UTF-8', new Uint8Array([0x22, 0xc3, 0x28, 0x22]), {}, 400, /UTF-8/],
    ['torn protobuf', new Uint8Array([0x1a, 0x05, 0x61]), PROTO_TYPE, 400, /no valid nereid.serving/],
    ['protobuf with a string that is no UTF-8', new Uint8Array([0x1a, 1, 0xff]), PROTO_TYPE, 400, /no valid/],
    ['another type', 'inputs=a', { 'content-type': 'text/plain' }, 415, /application\/proto/],
    ['streams', '{}', { 'content-type': 'application/connect+json' }, 415, /application\/proto/],
    ['gzip', '{}', { 'content-encoding': 'gzip' }, 415, /must not be compressed/],
    ['another version of the protocol', '{}', { 'connect-protocol-version': '2' }, 400, /must be 1/],
    [
      'a priority that there is not',
      '{"inputs": ["a"]}',
      { 'nereid-priority': 'urgent' },
      400,
      /nereid-priority is "urgent"; it must be interactive, default, bulk/,
    ],
    [
      'a timeout that is none',
      '{"inputs": ["a"]}',
      { 'connect-timeout-ms': '1s' },
      400,
      /connect-timeout-ms/,
    ],
  ];
  it.each(bad)('%s', async (_, body, headers, status, message) => {
    const { seen, serving } = embedding();
    await start({ serving });
    const reply = await post(EMBED, body, { headers: { ...JSON_TYPE, ...headers } });
    expect(reply.status).toBe(status);
    expect(reply.headers.get('content-type')).toMatch(/^application\/json/);
    expect(await reply.json()).toMatchObject({
      code: 'invalid_argument',
      message: expect.stringMatching(message),
    });
    expect(seen).toEqual([]);
  });

  it('what is no POST, and the stream', async () => {
    const { httpPort } = await start();
    const get = await fetch(`http://127.0.0.1:${httpPort}${EMBED}`);
    expect([get.status, get.headers.get('allow')]).toEqual([405, 'POST']);
    expect((await post(`/${EmbedService.typeName}/EmbedStream`, '{}')).status).toBe(404);
  });

  it('more bytes than a message may have, by what is announced and by what comes', async () => {
    const { seen, serving } = embedding();
    const { httpPort, calls } = await start({ serving, maxMessageBytes: 1000 });
    expect((await embedJson({ inputs: ['a'.repeat(900)] })).status).toBe(200);
    expect(await embedJson({ inputs: ['a'.repeat(1000)] })).toMatchObject({
      status: 413,
      body: {
        code: 'invalid_argument',
        reason: 'INPUT_TOO_LONG',
        message: expect.stringMatching(/limit is 1000 bytes/),
      },
    });
    const request = httpRequest({ port: httpPort, path: EMBED, method: 'POST', headers: JSON_TYPE });
    for (let written = 0; written < 3; written++) request.write(Buffer.alloc(500, 0x20));
    const [reply] = await once(request, 'response');
    expect(reply.statusCode).toBe(413);
    request.destroy();
    expect(seen).toHaveLength(1);
    expect(calls.map(({ reason }) => reason)).toEqual(['OK', 'INPUT_TOO_LONG', 'INPUT_TOO_LONG']);
  });

  it('too many texts', async () => {
    await start({ serving: embedding().serving });
    const reply = await embedJson({ inputs: Array.from({ length: 101 }, () => '') });
    expect(reply).toMatchObject({ status: 413, body: { reason: 'BATCH_TOO_LARGE' } });
  });
});
