import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type ClientDuplexStream, credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath } from 'grpc-health-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  EmbedService,
  EmbedStreamRequestSchema,
  type EmbedStreamResponse,
  EmbedStreamResponseSchema,
} from '../../proto/gen/serving_pb.js';
import { inCheckout, type Spawned, spawnNode } from '../cli/spawned.ts';
import { eventually } from './eventually.ts';
import { TestClient } from './grpc-client.ts';
import { writeTextModel } from './onnx-writer.ts';
import { shippedRepository, temporaryFolder } from './repository.ts';

const FREE_PORTS = ['--grpc-port', '0', '--http-port', '0', '--metrics-port', '0', '--instances', '1'];

function tinyRepository(weightBytes?: number): string {
  const folder = temporaryFolder();
  onTestFinished(folder.remove);
  writeTextModel(folder.path, 'm', weightBytes === undefined ? {} : { weightBytes });
  return folder.path;
}

/** The environment has the allocator's variables already, so that the process is the server from its beginning. */
function spawnServer(repository: string, ...flags: string[]): Spawned {
  const args = ['serve', ...FREE_PORTS, '--model-repository', repository, ...flags];
  return spawnNode(inCheckout('cli/nereid.ts'), args);
}

async function serve(repository: string, ...flags: string[]) {
  const spawned = spawnServer(repository, ...flags);
  const ports = JSON.parse(await spawned.line(/"grpcPort"/)) as Record<
    'grpcPort' | 'httpPort' | 'metricsPort',
    number
  >;
  const client = new TestClient(ports.grpcPort);
  onTestFinished(() => client.close());
  return { ...spawned, ports, client };
}

const embed = (client: TestClient, inputs: string[]) => client.ask(EmbedService.method.embed, { inputs });

/** What a watcher of the server's health is told, in order. */
function watchHealth(port: number): string[] {
  const { grpc } = loadPackageDefinition(loadSync(protoPath, { enums: String })) as never as {
    grpc: {
      health: {
        v1: {
          Health: new (...args: unknown[]) => { watch(request: object): NodeJS.EventEmitter; close(): void };
        };
      };
    };
  };
  const health = new grpc.health.v1.Health(`127.0.0.1:${port}`, credentials.createInsecure());
  onTestFinished(() => health.close());
  const seen: string[] = [];
  const watch = health.watch({ service: '' });
  watch.on('data', ({ status }: { status: string }) => seen.push(status));
  watch.on('error', () => undefined);
  return seen;
}

/** A stream of requests whose answers are awaited one by one. */
class Stream {
  readonly #call: ClientDuplexStream<Uint8Array, EmbedStreamResponse>;
  readonly #waiting = new Map<string, PromiseWithResolvers<EmbedStreamResponse>>();
  #next = 0;

  constructor(client: TestClient) {
    this.#call = client.raw.makeBidiStreamRequest(
      '/nereid.serving.v1.EmbedService/EmbedStream',
      (bytes: Uint8Array) => Buffer.from(bytes),
      (bytes: Buffer) => fromBinary(EmbedStreamResponseSchema, bytes),
    );
    this.#call.on('data', (reply: EmbedStreamResponse) =>
      this.#waiting.get(reply.correlationId)?.resolve(reply),
    );
    this.#call.on('error', (error) => {
      for (const { reject } of this.#waiting.values()) reject(error);
    });
  }

  ask(inputs: string[]): Promise<EmbedStreamResponse> {
    const correlationId = String(this.#next++);
    const waiting = Promise.withResolvers<EmbedStreamResponse>();
    this.#waiting.set(correlationId, waiting);
    const message = create(EmbedStreamRequestSchema, { correlationId, request: { inputs } });
    this.#call.write(toBinary(EmbedStreamRequestSchema, message));
    return waiting.promise;
  }

  end(): void {
    this.#call.end();
  }
}

const readiness = async (port: number) => (await fetch(`http://127.0.0.1:${port}/readyz`)).status;
const queued = async (port: number) => {
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return /nereid_queue_items\{.*\} [1-9]/.test(metrics);
};

describe('SIGTERM under load', () => {
  it('says "not ready" first, goes on answering for the time of --drain-delay-ms, and ends with 0', async () => {
    const { client, ports, child, ended, stderr } = await serve(tinyRepository(), '--drain-delay-ms', '3000');
    const health = watchHealth(ports.grpcPort);
    const stream = new Stream(client);
    let [answered, since] = [0, 0];
    // Each sends as a client behind a load balancer does that needs a while to hear of it.
    const send = async (ask: () => Promise<unknown>) => {
      while (since < 30) {
        await ask();
        answered++;
        if (health.includes('NOT_SERVING')) since++;
      }
    };
    const streamed = async () => expect((await stream.ask(['streamed'])).result.case).toBe('response');
    const senders = [
      ...Array.from({ length: 8 }, () => send(() => embed(client, ['a text']))),
      send(streamed),
    ];
    await eventually(() => expect(answered).toBeGreaterThan(100));
    expect(await readiness(ports.httpPort)).toBe(200);
    child.kill('SIGTERM');
    await eventually(() => expect(health).toEqual(['SERVING', 'NOT_SERVING']));
    expect(await readiness(ports.httpPort)).toBe(503);
    await Promise.all(senders);
    stream.end();
    expect(since).toBeGreaterThanOrEqual(30);
    expect(await ended).toEqual({ code: 0, signal: null });
    expect(stderr).toEqual([]);
  });

  it('finishes what it has accepted, unary and streamed, and ends with 0', async () => {
    const { client, ports, child, ended, stdout, stderr } = await serve(shippedRepository);
    const stream = new Stream(client);
    await Promise.all([embed(client, ['connected']), stream.ask(['connected'])]);
    const texts = (call: number) => Array.from({ length: 40 }, (_, i) => `${'word '.repeat(40)}${call} ${i}`);
    const running = [
      ...Array.from({ length: 4 }, (_, call) => embed(client, texts(call))),
      ...Array.from({ length: 4 }, (_, call) => stream.ask(texts(call))),
    ];
    await eventually(async () => expect(await queued(ports.metricsPort)).toBe(true));
    child.kill('SIGTERM');
    const answers = await Promise.all(running);
    expect(answers).toHaveLength(8);
    for (const answer of answers) {
      const response = 'result' in answer ? answer.result.value : answer;
      expect(response).toMatchObject({ embeddings: { length: 40 } });
    }
    expect(await ended).toEqual({ code: 0, signal: null });
    expect(stderr).toEqual([]);
    expect(stdout.filter((line) => line.includes('"method"'))).toEqual([]);
  });

  it('tells whoever comes too late that another server may answer, and nobody anything else', async () => {
    const { client, child, ended } = await serve(tinyRepository());
    const failures: unknown[] = [];
    let answered = 0;
    const send = async () => {
      for (;;) {
        const failure = await embed(client, ['a text']).then(
          () => undefined,
          (error: unknown) => error,
        );
        if (failure === undefined) answered++;
        else return failures.push(failure);
      }
    };
    const senders = Array.from({ length: 8 }, send);
    await eventually(() => expect(answered).toBeGreaterThan(100));
    child.kill('SIGTERM');
    expect(await ended).toEqual({ code: 0, signal: null });
    await Promise.all(senders);
    const UNAVAILABLE = 14;
    for (const failure of failures) expect(failure).toMatchObject({ code: UNAVAILABLE });
  });
});

describe('SIGTERM', () => {
  it('for the second time ends the server at once, however long it would have drained', async () => {
    const { ports, child, ended } = await serve(tinyRepository(), '--drain-delay-ms', '600000');
    const health = watchHealth(ports.grpcPort);
    await eventually(() => expect(health).toEqual(['SERVING']));
    child.kill('SIGTERM');
    await eventually(() => expect(health).toEqual(['SERVING', 'NOT_SERVING']));
    // What follows the first one at once counts as the same.
    const again = setInterval(() => child.kill('SIGTERM'), 50);
    onTestFinished(() => clearInterval(again));
    expect(await ended).toEqual({ code: 130, signal: null });
  });

  it('while it loads at its start ends it, too', async () => {
    const { child, ended, line, stdout } = spawnServer(tinyRepository(256 * 2 ** 20));
    await line(/"state":"loading"/);
    child.kill('SIGTERM');
    expect(await ended).toEqual({ code: 0, signal: null });
    expect(stdout.some((text) => text.includes('"grpcPort"'))).toBe(false);
  });

  it('while a request loads its model: the request is answered, then it ends', async () => {
    const { client, child, ended, line } = await serve(tinyRepository(64 * 2 ** 20), '--preload', 'none');
    const asked = embed(client, ['a text']);
    await line(/"state":"loading"/);
    child.kill('SIGTERM');
    expect((await asked).embeddings).toHaveLength(1);
    expect(await ended).toEqual({ code: 0, signal: null });
  });
});
