import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import type { ServingPort } from '../../model-server/api/ports.ts';
import type { CallOptions } from '../../model-server/models/run-task.ts';
import { GRPCInferenceService } from '../../proto/gen/inference_pb.js';
import {
  EmbedService,
  EmbedStreamRequestSchema,
  EmbedStreamResponseSchema,
  RerankService,
} from '../../proto/gen/serving_pb.js';
import { fakeServing, startApi } from './fake-models.ts';
import { metadataOf, type TestCallOptions, TestClient } from './grpc-client.ts';

const { modelInfer } = GRPCInferenceService.method;

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

/** An api whose models note what they are told of a call. */
async function start() {
  const told: Omit<CallOptions, 'truncate'>[] = [];
  const ref = { name: 'mini', version: 1, space: 'ff', dimension: 1 };
  const timings = { queueUs: 0, tokenizeUs: 0, computeUs: 0, postUs: 0 };
  const note = <Options extends Omit<CallOptions, 'truncate'>>(options: Options) => void told.push(options);
  const serving: Partial<ServingPort> = {
    embed: async (_target, _texts, options) => {
      note(options);
      return { ref, vectors: [], texts: [], timings };
    },
    rerank: async (_target, _request, options) => {
      note(options);
      return { ref, kind: 'cross_encoder', results: [], timings };
    },
    infer: async (_target, _request, options) => {
      note(options);
      return { ref, outputs: [], timings };
    },
  };
  const api = await startApi({ serving: fakeServing(serving) });
  const client = new TestClient(api.grpcPort);
  open.push(client, api);
  return { client, told, calls: api.calls };
}

type Ask = (client: TestClient, options?: TestCallOptions) => Promise<unknown>;
const methods: [string, Ask][] = [
  ['Embed', (client, options) => client.ask(EmbedService.method.embed, {}, options)],
  ['Rerank', (client, options) => client.ask(RerankService.method.rerank, {}, options)],
  ['ModelInfer', (client, options) => client.ask(modelInfer, { modelName: 'mini' }, options)],
];

describe.each(methods)('%s', (method, ask) => {
  it('passes on priority, tenant and deadline', async () => {
    const { client, told } = await start();
    const deadline = Date.now() + 60_000;
    const metadata = { 'nereid-priority': 'bulk', 'nereid-tenant': 'search', 'x-api-key': 'k' };
    await ask(client, { metadata, deadline });
    await ask(client);
    const [first, second] = told.map(({ priority, tenant, deadlineMs }) => ({
      priority,
      tenant,
      deadlineMs,
    }));
    expect(first).toMatchObject({ priority: 'bulk', tenant: 'search' });
    // The time left travels, and the clock goes on while it does.
    expect(Math.abs(first!.deadlineMs! - deadline)).toBeLessThan(30_000);
    expect(second).toEqual({ priority: undefined, tenant: '', deadlineMs: undefined });
  });

  it('takes callers of one credential for one tenant, of which only a hash goes further', async () => {
    const { client, told } = await start();
    for (const metadata of [{ 'x-api-key': 'a key' }, { 'x-api-key': 'a key' }, { authorization: 'b' }])
      await ask(client, { metadata });
    const tenants = told.map(({ tenant }) => tenant);
    expect(tenants[0]).toMatch(/^[\w-]{43}$/);
    expect(tenants[1]).toBe(tenants[0]);
    expect(tenants[2]).not.toBe(tenants[0]);
  });

  it('refuses a priority that there is not, and names those that there are', async () => {
    const { client, told, calls } = await start();
    const metadata = { 'nereid-priority': 'urgent' };
    await expect(ask(client, { metadata })).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(/"urgent".*interactive, default, bulk/),
    });
    expect(told).toEqual([]);
    expect(calls).toMatchObject([{ method, reason: 'INVALID_INPUT' }]);
  });
});

describe('EmbedStream', () => {
  function stream(client: TestClient, priority: string) {
    const call = client.raw.makeBidiStreamRequest(
      '/nereid.serving.v1.EmbedService/EmbedStream',
      (bytes: Buffer) => bytes,
      (reply) => fromBinary(EmbedStreamResponseSchema, reply),
      metadataOf({ 'nereid-priority': priority }),
    );
    const ended = new Promise<void>((resolve, reject) => call.on('end', resolve).on('error', reject));
    call.on('data', () => undefined);
    const message = create(EmbedStreamRequestSchema, { correlationId: '1', request: {} });
    call.write(Buffer.from(toBinary(EmbedStreamRequestSchema, message)));
    call.end();
    return ended;
  }

  it('has the priority that it was opened with', async () => {
    const { client, told } = await start();
    await stream(client, 'interactive');
    expect(told).toMatchObject([{ priority: 'interactive' }]);
  });

  it('is refused with a priority that there is not', async () => {
    const { client, told } = await start();
    await expect(stream(client, 'high')).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringContaining('interactive, default, bulk'),
    });
    expect(told).toEqual([]);
  });
});

describe("ModelInfer's parameter", () => {
  const ask = (client: TestClient, parameterChoice: object, metadata = {}) =>
    client.ask(modelInfer, { modelName: 'mini', parameters: { priority: { parameterChoice } } } as never, {
      metadata,
    });

  it.each([
    [{ case: 'uint64Param', value: 0n }, 'bulk'],
    [{ case: 'uint64Param', value: 1n }, 'interactive'],
    [{ case: 'int64Param', value: 2n }, 'default'],
    [{ case: 'stringParam', value: '3' }, 'bulk'],
    [{ case: 'uint64Param', value: 2n ** 64n - 1n }, 'bulk'],
  ])('%o means %s where the metadata says bulk', async (choice, priority) => {
    const { client, told } = await start();
    await ask(client, choice, { 'nereid-priority': 'bulk' });
    expect(told).toMatchObject([{ priority }]);
  });

  it.each([
    [{ case: 'stringParam', value: 'high' }],
    [{ case: 'int64Param', value: -1n }],
    [{ case: 'boolParam', value: true }],
  ])('refuses %o', async (choice) => {
    const { client } = await start();
    await expect(ask(client, choice)).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(/'priority' must be a whole number/),
    });
  });
});
