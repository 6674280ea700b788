import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Client, credentials } from '@grpc/grpc-js';
import { EmbedRequestSchema, type EmbedResponse, EmbedResponseSchema } from '../proto/gen/serving_pb.js';

const EMBED_PATH = '/nereid.serving.v1.EmbedService/Embed';
const bytes = (data: Uint8Array) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);

/** A gRPC client for benchmarks that look at each answer; those that measure rates use cli/bench. */
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
        EMBED_PATH,
        (request: string[]) =>
          bytes(toBinary(EmbedRequestSchema, create(EmbedRequestSchema, { inputs: request }))),
        (reply) => fromBinary(EmbedResponseSchema, reply),
        inputs,
        (error, reply) => (error === null ? resolve(reply!) : reject(error)),
      );
    });
  }

  close(): void {
    this.#client.close();
  }
}
