import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { serverConfigSchema } from '../../model-server/config.ts';
import { type RunningServer, run } from '../../model-server/main.ts';
import {
  EmbedRequestSchema,
  EmbedResponseSchema,
  EmbedStreamRequestSchema,
  type EmbedStreamResponse,
  EmbedStreamResponseSchema,
  ListModelsRequestSchema,
  ListModelsResponseSchema,
  RerankRequestSchema,
  RerankResponseSchema,
  ScoreKind,
  TokenizeRequestSchema,
  TokenizeResponseSchema,
  Truncate,
  VectorEncoding,
} from '../../proto/gen/serving_pb.js';
import { TestClient } from './grpc-client.ts';
import { shippedRepository } from './repository.ts';

const EMBED = '/nereid.serving.v1.EmbedService/Embed';
const embedTypes: [typeof EmbedRequestSchema, typeof EmbedResponseSchema] = [
  EmbedRequestSchema,
  EmbedResponseSchema,
];

let server: RunningServer;
let client: TestClient;
beforeAll(async () => {
  const free = {
    grpcPort: 0,
    httpPort: 0,
    metricsPort: 0,
    logLevel: 'silent',
    maxInputsPerCall: 2000,
    tuneMs: 0,
  };
  // What is computed is looked at here; grpc-cache.test.ts looks at what is not.
  const embeddingCacheMb = 0;
  server = await run(
    serverConfigSchema.parse({ ...free, embeddingCacheMb, modelRepository: shippedRepository }),
  );
  client = new TestClient(server.grpcPort);
});
afterAll(async () => {
  client.close();
  await server.close();
});
const embed = (message: Parameters<typeof create<typeof EmbedRequestSchema>>[1]) =>
  client.call(EMBED, embedTypes, message!);

describe('Embed', () => {
  it('answers with model, version, space, packed vectors, token counts and timings', async () => {
    const reply = await embed({ inputs: ['What is dynamic batching?', ''] });
    expect(reply.model).toMatchObject({ name: 'all-minilm-l6-v2', version: 1 });
    expect(reply.model!.space).toMatch(/^[0-9a-f]{32}$/);
    expect(reply.dimension).toBe(384);
    expect(
      reply.embeddings.map(({ packed, tokens, tokensUsed, truncated }) => [
        packed.length,
        tokens,
        tokensUsed,
        truncated,
      ]),
    ).toEqual([
      [384 * 4, 8, 8, false],
      [384 * 4, 2, 2, false],
    ]);
    expect(reply.timings!.computeUs).toBeGreaterThan(0);
    expect(reply.timings!.totalUs).toBeGreaterThanOrEqual(reply.timings!.computeUs);
  });

  it('gives the same numbers as little-endian bytes and as floats', async () => {
    const packed = (await embed({ inputs: ['a text'] })).embeddings[0]!;
    const floats = (await embed({ inputs: ['a text'], encoding: VectorEncoding.FLOATS })).embeddings[0]!;
    const view = new DataView(packed.packed.buffer, packed.packed.byteOffset);
    expect(floats.packed).toHaveLength(0);
    expect(floats.values).toEqual(
      Array.from({ length: 384 }, (_, index) => view.getFloat32(index * 4, true)),
    );
  });

  it('truncates a megabyte of text and says so, or refuses when asked to', async () => {
    const megabyte = 'a long text about nothing '.repeat(40_000);
    const [embedding] = (await embed({ inputs: [megabyte] })).embeddings;
    expect(embedding).toMatchObject({ truncated: true, tokensUsed: 256, tokens: 40_000 * 5 + 2 });
    await expect(embed({ inputs: ['short', megabyte], truncate: Truncate.ERROR })).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      reason: 'INPUT_TOO_LONG',
      details: expect.stringMatching(/input 1 has 200002 tokens, the limit is 256/),
    });
  });

  it('accepts no inputs at all', async () => {
    expect((await embed({ inputs: [] })).embeddings).toEqual([]);
  });

  it('keeps the order of many inputs of mixed lengths', async () => {
    const inputs = Array.from({ length: 1000 }, (_, index) => `text ${'word '.repeat(index % 40)}${index}`);
    const many = await embed({ inputs });
    for (const index of [0, 1, 39, 500, 999]) {
      const [alone] = (await embed({ inputs: [inputs[index]!] })).embeddings;
      expect(Buffer.from(many.embeddings[index]!.packed).equals(alone!.packed)).toBe(true);
    }
  });

  const refused: [string, Parameters<typeof embed>[0], number, string, RegExp][] = [
    [
      'an unknown model',
      { model: 'nope', inputs: ['a'] },
      status.NOT_FOUND,
      'MODEL_NOT_FOUND',
      /"nope".*all-minilm-l6-v2/,
    ],
    [
      'an unknown version',
      { version: 9, inputs: ['a'] },
      status.NOT_FOUND,
      'VERSION_NOT_FOUND',
      /no version 9; served are: 1/,
    ],
    [
      'another space',
      { expectSpace: 'ff', inputs: ['a'] },
      status.FAILED_PRECONDITION,
      'SPACE_MISMATCH',
      /expects ff/,
    ],
    [
      '100,000 inputs',
      { inputs: Array.from({ length: 100_000 }, () => 'a') },
      status.INVALID_ARGUMENT,
      'BATCH_TOO_LARGE',
      /100000 inputs, the limit is 2000/,
    ],
  ];
  it.each(refused)('refuses %s by name', async (_, message, code, reason, details) => {
    await expect(embed(message)).rejects.toMatchObject({
      code,
      reason,
      details: expect.stringMatching(details),
    });
  });

  it('tells a mistake of any length without ending the connection', async () => {
    const healthy = embed({ inputs: ['a'] });
    await expect(embed({ model: 'm'.repeat(100_000), inputs: ['a'] })).rejects.toMatchObject({
      reason: 'MODEL_NOT_FOUND',
    });
    expect((await healthy).embeddings).toHaveLength(1);
  });

  it('refuses invalid UTF-8 with INVALID_ARGUMENT, and goes on', async () => {
    const broken = Buffer.from([0x1a, 2, 0xc3, 0x28]);
    await expect(client.call(EMBED, embedTypes, broken)).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      reason: 'INVALID_INPUT',
      details: expect.stringContaining('UTF-8'),
    });
    expect((await embed({ inputs: ['a'] })).embeddings).toHaveLength(1);
  });

  it('honours the deadline and a cancel while the server is busy', async () => {
    const metric = async (pattern: RegExp) => {
      const text = await (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text();
      return pattern.test(text);
    };
    const busy = embed({
      inputs: Array.from({ length: 300 }, (_, index) => `${'busy '.repeat(100)}${index}`),
    });
    await vi.waitFor(async () => expect(await metric(/nereid_queue_items\{.*\} [1-9]/)).toBe(true), {
      timeout: 20_000,
    });
    const late = client.call(EMBED, embedTypes, { inputs: ['a'] }, { deadline: Date.now() + 30 });
    // The server sees at once that it would be too late; its refusal may reach the client in time or not.
    const tooLate = expect.toSatisfy((code) =>
      [status.DEADLINE_EXCEEDED, status.RESOURCE_EXHAUSTED].includes(code),
    );
    await expect(late).rejects.toMatchObject({ code: tooLate });
    const controller = new AbortController();
    const cancelled = client.call(EMBED, embedTypes, { inputs: ['a'] }, { signal: controller.signal });
    controller.abort();
    await expect(cancelled).rejects.toMatchObject({ code: status.CANCELLED });
    expect((await busy).embeddings).toHaveLength(300);
    const outcome =
      /nereid_requests_total\{method="Embed",reason="(DEADLINE_EXCEEDED|DEADLINE_UNREACHABLE|CANCELLED)"\} [1-9]/;
    await vi.waitFor(async () => expect(await metric(outcome)).toBe(true));
  });
});

describe('EmbedStream', () => {
  function open() {
    const replies = new Map<string, EmbedStreamResponse>();
    const call = client.raw.makeBidiStreamRequest(
      '/nereid.serving.v1.EmbedService/EmbedStream',
      (message: Buffer) => message,
      (reply) => fromBinary(EmbedStreamResponseSchema, reply),
    );
    const ended = new Promise<void>((resolve, reject) => call.on('end', resolve).on('error', reject));
    call.on('data', (reply: EmbedStreamResponse) => replies.set(reply.correlationId, reply));
    const send = (correlationId: string, request: Parameters<typeof embed>[0]) =>
      call.write(
        Buffer.from(
          toBinary(
            EmbedStreamRequestSchema,
            create(EmbedStreamRequestSchema, { correlationId, request: request! }),
          ),
        ),
      );
    return { call, replies, ended, send };
  }

  it('answers every request under its correlation id, more of them than are read at once', async () => {
    const { call, replies, ended, send } = open();
    for (let index = 0; index < 600; index++) send(String(index), { inputs: [`text ${index}`] });
    call.end();
    await ended;
    expect(replies.size).toBe(600);
    const reply = replies.get('599')!.result;
    const alone = await embed({ inputs: ['text 599'] });
    expect(reply.case).toBe('response');
    if (reply.case === 'response')
      expect(reply.value.embeddings[0]!.packed).toEqual(alone.embeddings[0]!.packed);
  });

  it('answers a bad request with an error and stays open', async () => {
    const { call, replies, ended, send } = open();
    send('bad', { model: 'nope', inputs: ['a'] });
    call.write(Buffer.from([0x12, 4, 0x1a, 2, 0xc3, 0x28]));
    send('good', { inputs: ['a'] });
    call.end();
    await ended;
    expect(replies.get('bad')!.result).toMatchObject({
      case: 'error',
      value: { reason: 'MODEL_NOT_FOUND', grpcCode: status.NOT_FOUND, retryable: false },
    });
    expect(replies.get('')!.result).toMatchObject({ case: 'error', value: { reason: 'INVALID_INPUT' } });
    expect(replies.get('good')!.result.case).toBe('response');
  });
});

describe('Rerank, Tokenize, ListModels', () => {
  it('ranks best first, names the kind, and gives both scores', async () => {
    const types: [typeof RerankRequestSchema, typeof RerankResponseSchema] = [
      RerankRequestSchema,
      RerankResponseSchema,
    ];
    const path = '/nereid.serving.v1.RerankService/Rerank';
    const documents = [
      'The fox jumps.',
      'Dynamic batching groups requests into one batch.',
      'Batch cooking saves time.',
    ];
    const reply = await client.call(path, types, { query: 'what is dynamic batching', documents, topN: 2 });
    expect(reply.kind).toBe(ScoreKind.LATE_INTERACTION);
    expect(reply.results.map((result) => result.index)).toEqual([1, 2]);
    for (const { score, rawScore } of reply.results) expect(score).toBeCloseTo((rawScore + 1) / 2, 5);
    await expect(
      client.call(path, types, { query: 'q', documents, kind: ScoreKind.CROSS_ENCODER }),
    ).rejects.toMatchObject({
      code: status.UNIMPLEMENTED,
      reason: 'TASK_NOT_SUPPORTED',
    });
  });

  it('counts tokens without special ones and says what a text may use', async () => {
    const reply = await client.call(
      '/nereid.serving.v1.EmbedService/Tokenize',
      [TokenizeRequestSchema, TokenizeResponseSchema],
      { inputs: ['What is dynamic batching?', ''], withIds: true },
    );
    expect(reply).toMatchObject({ maxTokens: 256, specialTokens: 2 });
    expect(reply.results.map(({ count, ids }) => [count, ids.length])).toEqual([
      [6, 6],
      [0, 0],
    ]);
  });

  it('lists the models with their state', async () => {
    const reply = await client.call(
      '/nereid.serving.v1.ModelService/ListModels',
      [ListModelsRequestSchema, ListModelsResponseSchema],
      {},
    );
    expect(reply.models).toHaveLength(1);
    expect(reply.models[0]).toMatchObject({
      state: 'ready',
      tasks: ['embed', 'rerank', 'infer'],
      served: true,
      dimension: 384,
      maxTokens: 256,
    });
    expect(reply.models[0]!.instances.every((instance) => instance.device === 'cpu')).toBe(true);
  });
});
