import { credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath } from 'grpc-health-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { serverConfigSchema } from '../../model-server/config.ts';
import { type RunningServer, run } from '../../model-server/main.ts';
import { EmbedRequestSchema, EmbedResponseSchema } from '../../proto/gen/serving_pb.js';
import { TestClient } from './grpc-client.ts';
import { shippedRepository } from './repository.ts';

let server: RunningServer | undefined;
const clients: { close(): void }[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server?.close();
  server = undefined;
});

const start = async (override: Record<string, unknown> = {}) => {
  const free = {
    grpcPort: 0,
    httpPort: 0,
    metricsPort: 0,
    logLevel: 'silent',
    tuneMs: 0,
    modelRepository: shippedRepository,
  };
  server = await run(serverConfigSchema.parse({ ...free, ...override }));
  return server;
};
const get = (port: number, path: string, init?: RequestInit) =>
  fetch(`http://127.0.0.1:${port}${path}`, init);

interface HealthClient {
  check(request: { service: string }, callback: (error: unknown, reply: { status: string }) => void): void;
  watch(request: { service: string }): NodeJS.EventEmitter & { cancel(): void };
  close(): void;
}

function healthClient(port: number): HealthClient {
  const definition = loadPackageDefinition(loadSync(protoPath, { enums: String })) as unknown as {
    grpc: { health: { v1: { Health: new (address: string, credential: unknown) => HealthClient } } };
  };
  const client = new definition.grpc.health.v1.Health(`127.0.0.1:${port}`, credentials.createInsecure());
  clients.push(client);
  return client;
}

describe('HTTP', () => {
  it('answers health, readiness, version and metrics', async () => {
    const { httpPort, metricsPort } = await start();
    for (const path of ['/healthz', '/readyz', '/v2/health/live', '/v2/health/ready', '/v2', '/version']) {
      expect((await get(httpPort, path)).status, path).toBe(200);
    }
    expect(await (await get(httpPort, '/readyz')).json()).toMatchObject({
      models: [{ name: 'all-minilm-l6-v2', state: 'ready' }],
    });
    expect(await (await get(httpPort, '/version')).json()).toMatchObject({
      name: 'nereid',
      version: expect.stringMatching(/^\d/),
    });
    expect(await (await get(metricsPort, '/metrics')).text()).toContain('nereid_model_ready');
    expect((await get(httpPort, '/nope')).status).toBe(404);
    expect((await get(httpPort, '/constructor')).status).toBe(404);
    expect((await get(httpPort, '/readyz', { method: 'POST' })).status).toBe(405);
  });

  it('a taken port is refused with the flag that changes it, and nothing is left open', async () => {
    const first = await start();
    const config = {
      grpcPort: 0,
      httpPort: 0,
      metricsPort: first.metricsPort,
      logLevel: 'silent',
      modelRepository: shippedRepository,
    };
    await expect(run(serverConfigSchema.parse(config))).rejects.toThrow(/--metrics-port/);
    const grpcTaken = { ...config, metricsPort: 0, grpcPort: first.grpcPort };
    await expect(run(serverConfigSchema.parse(grpcTaken))).rejects.toThrow(/--grpc-port/);
  });
});

describe('gRPC health and reflection', () => {
  it('Check and Watch follow the state through shutdown', async () => {
    const { grpcPort } = await start();
    const health = healthClient(grpcPort);
    const check = (service: string) =>
      new Promise((resolve, reject) =>
        health.check({ service }, (error, reply) => (error ? reject(error) : resolve(reply.status))),
      );
    expect(await check('')).toBe('SERVING');
    expect(await check('nereid.serving.v1.EmbedService')).toBe('SERVING');
    const seen: string[] = [];
    const watch = health.watch({ service: '' });
    watch.on('data', (reply: { status: string }) => seen.push(reply.status));
    watch.on('error', () => undefined);
    await vi.waitFor(() => expect(seen).toEqual(['SERVING']));
    const closing = server!.close();
    await vi.waitFor(() => expect(seen).toEqual(['SERVING', 'NOT_SERVING']));
    watch.cancel();
    await closing;
  });

  it('reflection lists the services and describes them', async () => {
    const { grpcPort } = await start();
    const { GrpcReflection } = await import('./reflection-client.ts');
    const reflection = new GrpcReflection(grpcPort);
    clients.push(reflection);
    expect(await reflection.services()).toEqual(
      expect.arrayContaining([
        'nereid.serving.v1.EmbedService',
        'nereid.serving.v1.RerankService',
        'nereid.serving.v1.ModelService',
        'nereid.admin.v1.AdminService',
        'inference.GRPCInferenceService',
      ]),
    );
    expect(await reflection.messagesOf('nereid.serving.v1.EmbedService')).toContain('EmbedRequest');
    expect(await reflection.messagesOf('inference.GRPCInferenceService')).toContain('ModelInferRequest');
    expect(await reflection.messagesOf('nereid.admin.v1.AdminService')).toEqual(
      expect.arrayContaining(['LoadModelRequest', 'ModelInfo']),
    );
  });
});

describe('shutdown', () => {
  it('finishes what runs, and can be asked twice', async () => {
    const { grpcPort } = await start();
    const client = new TestClient(grpcPort);
    clients.push(client);
    const types: [typeof EmbedRequestSchema, typeof EmbedResponseSchema] = [
      EmbedRequestSchema,
      EmbedResponseSchema,
    ];
    const path = '/nereid.serving.v1.EmbedService/Embed';
    await client.call(path, types, { inputs: ['connected'] });
    const running = client.call(path, types, {
      inputs: Array.from({ length: 200 }, (_, index) => `${'word '.repeat(50)}${index}`),
    });
    await vi.waitFor(async () => {
      const metrics = await (await get(server!.metricsPort, '/metrics')).text();
      expect(/nereid_queue_items\{.*\} [1-9]/.test(metrics)).toBe(true);
    });
    await Promise.all([server!.close(), server!.close()]);
    expect((await running).embeddings).toHaveLength(200);
  });

  it('does not wait for streams on which nothing happens', async () => {
    // The time to drain is far longer than the test may take.
    const { grpcPort } = await start({ drainMs: 600_000 });
    const client = new TestClient(grpcPort);
    clients.push(client);
    const watch = healthClient(grpcPort).watch({ service: '' });
    const streamed = client.raw.makeBidiStreamRequest(
      '/nereid.serving.v1.EmbedService/EmbedStream',
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
    );
    for (const call of [watch, streamed]) call.on('error', () => undefined);
    await new Promise((resolve) => watch.once('data', resolve));
    await server!.close();
  });

  it('fails to start without a model repository, and says why', async () => {
    await expect(start({ modelRepository: `${import.meta.dirname}/nowhere` })).rejects.toThrow(
      /nowhere is not a folder/,
    );
  });
});
