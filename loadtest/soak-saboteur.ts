import { setTimeout as pause } from 'node:timers/promises';
import { create, toBinary } from '@bufbuild/protobuf';
import {
  type CallOptions,
  Client,
  type ClientUnaryCall,
  credentials,
  type ServiceError,
} from '@grpc/grpc-js';
import { EMBED_PATH } from '../cli/bench/nereid-wires.ts';
import { EmbedRequestSchema } from '../proto/gen/serving_pb.js';

/** Between two kinds of mischief. */
const PAUSE_MS = 20;
const LONG_TEXT = 'a text that is far longer than what the model takes '.repeat(400);

/** A client that takes calls back, hangs up and sends what no server should be sent, and counts the answers by kind. */
export class Saboteur implements AsyncDisposable {
  readonly counts: Record<string, number> = {};
  readonly #client: Client;
  #sent = 0;

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure());
  }

  async run(untilMs: number): Promise<void> {
    while (performance.now() < untilMs) {
      await this.#takenBack();
      await this.#call('no model of that name', this.#request({ model: 'nobody', inputs: ['a'] }));
      await this.#call('no request at all', Buffer.from([0xff, 0xff, 0xff]));
      await this.#call('another space', this.#request({ inputs: ['a'], expectSpace: 'none' }));
      await this.#call('a very long text', this.#request({ inputs: [LONG_TEXT] }));
      await this.#call('no text', this.#request({ inputs: [''] }));
      await pause(PAUSE_MS);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
    return Promise.resolve();
  }

  #request(fields: { model?: string; inputs: string[]; expectSpace?: string }): Buffer {
    return Buffer.from(toBinary(EmbedRequestSchema, create(EmbedRequestSchema, fields)));
  }

  /** A call of several texts that is cancelled when it is on its way. */
  #takenBack(): Promise<void> {
    const inputs = Array.from({ length: 16 }, () => `a text that nobody waits for ${this.#sent++}`);
    return this.#call('taken back', this.#request({ inputs }), (call) => setImmediate(() => call.cancel()));
  }

  #call(kind: string, body: Buffer, then?: (call: ClientUnaryCall) => void): Promise<void> {
    return new Promise((resolve) => {
      const options: CallOptions = { deadline: Date.now() + 30_000 };
      const call = this.#client.makeUnaryRequest(
        EMBED_PATH,
        (value: Buffer) => value,
        (reply: Buffer) => reply,
        body,
        options,
        (error: ServiceError | null) => {
          const outcome =
            error === null ? 'OK' : String(error.metadata.get('nereid-reason')[0] ?? error.code);
          const key = `${kind}: ${outcome}`;
          this.counts[key] = (this.counts[key] ?? 0) + 1;
          resolve();
        },
      );
      then?.(call);
    });
  }
}
