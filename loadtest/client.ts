import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Client, credentials } from '@grpc/grpc-js';
import {
  EmbedRequestSchema,
  type EmbedResponse,
  EmbedResponseSchema,
  EmbedStreamRequestSchema,
  EmbedStreamResponseSchema,
  TokenizeRequestSchema,
  TokenizeResponseSchema,
} from '../proto/gen/serving_pb.js';

const PATH = '/nereid.serving.v1.EmbedService';
const bytes = (data: Uint8Array) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);

/** A closed loop: each of `concurrency` callers sends its next text when its last one is answered. */
export interface Loop {
  texts: readonly string[];
  concurrency: number;
  durationMs: number;
}

export interface LoopResult {
  textsPerSecond: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
  /** CPU that this client used, in cores. */
  clientCores: number;
}

/** A bare gRPC client of the model server, as thin as it can be so that it takes little from what it measures. */
export class BenchClient {
  readonly #client: Client;

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure());
  }

  /** Resolves when the connection stands. */
  ready(): Promise<void> {
    return new Promise((resolve, reject) =>
      this.#client.waitForReady(Date.now() + 10_000, (error) => (error ? reject(error) : resolve())),
    );
  }

  embed(inputs: string[]): Promise<EmbedResponse> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        `${PATH}/Embed`,
        (request: string[]) =>
          bytes(toBinary(EmbedRequestSchema, create(EmbedRequestSchema, { inputs: request }))),
        (reply) => fromBinary(EmbedResponseSchema, reply),
        inputs,
        (error, reply) => (error === null ? resolve(reply!) : reject(error)),
      );
    });
  }

  /** Token ids of each text, special tokens not included. */
  tokenize(inputs: string[]): Promise<number[][]> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        `${PATH}/Tokenize`,
        (request: string[]) =>
          bytes(
            toBinary(
              TokenizeRequestSchema,
              create(TokenizeRequestSchema, { inputs: request, withIds: true }),
            ),
          ),
        (reply) => fromBinary(TokenizeResponseSchema, reply).results.map((result) => result.ids),
        inputs,
        (error, reply) => (error === null ? resolve(reply!) : reject(error)),
      );
    });
  }

  /** One call per text. */
  async unary(loop: Loop): Promise<LoopResult> {
    return measure(loop, async (next) => {
      for (let text = next(); text !== undefined; text = next()) await this.embed([text]);
    });
  }

  /** One message per text on one bidirectional stream. */
  async stream(loop: Loop): Promise<LoopResult> {
    const waiting = new Map<string, () => void>();
    const call = this.#client.makeBidiStreamRequest(
      `${PATH}/EmbedStream`,
      ({ id, text }: { id: string; text: string }) =>
        bytes(
          toBinary(
            EmbedStreamRequestSchema,
            create(EmbedStreamRequestSchema, { correlationId: id, request: { inputs: [text] } }),
          ),
        ),
      (reply) => fromBinary(EmbedStreamResponseSchema, reply),
    );
    const failed = Promise.withResolvers<never>();
    failed.promise.catch(() => undefined);
    call.on('error', failed.reject);
    call.on('data', (reply) => {
      if (reply.result.case === 'error') failed.reject(new Error(reply.result.value.message));
      waiting.get(reply.correlationId)?.();
    });
    let sent = 0;
    const result = await measure(loop, async (next) => {
      for (let text = next(); text !== undefined; text = next()) {
        const id = String(sent++);
        const answered = new Promise<void>((resolve) => waiting.set(id, resolve));
        call.write({ id, text });
        await Promise.race([answered, failed.promise]);
        waiting.delete(id);
      }
    });
    call.end();
    return result;
  }

  close(): void {
    this.#client.close();
  }
}

async function measure(
  loop: Loop,
  caller: (next: () => string | undefined) => Promise<void>,
): Promise<LoopResult> {
  const latencies: number[] = [];
  const cpu = process.cpuUsage();
  const started = performance.now();
  let sent = 0;
  const run = async () => {
    let sentAt = 0;
    await caller(() => {
      const now = performance.now();
      if (sentAt > 0) latencies.push(now - sentAt);
      sentAt = now;
      return now - started < loop.durationMs ? loop.texts[sent++ % loop.texts.length] : undefined;
    });
  };
  await Promise.all(Array.from({ length: loop.concurrency }, run));
  const elapsedMs = performance.now() - started;
  const used = process.cpuUsage(cpu);
  latencies.sort((a, b) => a - b);
  const quantile = (q: number) =>
    latencies[Math.min(latencies.length - 1, Math.floor(q * latencies.length))] ?? 0;
  return {
    textsPerSecond: (latencies.length / elapsedMs) * 1000,
    p50: quantile(0.5),
    p99: quantile(0.99),
    clientCores: (used.user + used.system) / 1000 / elapsedMs,
  };
}
