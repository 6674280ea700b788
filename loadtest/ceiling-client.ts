import { create, toBinary } from '@bufbuild/protobuf';
import { Client, credentials } from '@grpc/grpc-js';
import { EmbedRequestSchema, EmbedStreamRequestSchema } from '../proto/gen/serving_pb.js';

// A process of its own that sends requests which it has made before, and only counts the answers: the less it does, the
// sooner the server is what limits both.

/** What it is told to do, once for each measurement. */
export interface CeilingTask {
  address: string;
  kind: 'unary' | 'stream';
  concurrency: number;
  durationMs: number;
  texts: string[];
}

export interface CeilingResult {
  callsPerSecond: number;
  calls: number;
  /** Of the last answer. */
  replyBytes: number;
}

const PATH = '/nereid.serving.v1.EmbedService';
const bytes = (data: Uint8Array) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
const asIs = (data: Buffer) => data;

/** One way of asking. */
interface Wire {
  send(index: number, done: (reply: Buffer) => void): void;
  end(): Promise<unknown>;
}

function unary(client: Client, texts: readonly string[]): Wire {
  const requests = texts.map((text) =>
    bytes(toBinary(EmbedRequestSchema, create(EmbedRequestSchema, { inputs: [text] }))),
  );
  const send: Wire['send'] = (index, done) =>
    client.makeUnaryRequest(
      `${PATH}/Embed`,
      asIs,
      asIs,
      requests[index % requests.length]!,
      (error, reply) => {
        if (error !== null) throw error;
        done(reply!);
      },
    );
  return { send, end: () => Promise.resolve() };
}

/** Answers may come in any order, but each stands for one request, so they are only counted. */
function stream(client: Client, texts: readonly string[]): Wire {
  const requests = texts.map((text, at) =>
    bytes(
      toBinary(
        EmbedStreamRequestSchema,
        create(EmbedStreamRequestSchema, { correlationId: `${100_000 + at}`, request: { inputs: [text] } }),
      ),
    ),
  );
  const call = client.makeBidiStreamRequest(`${PATH}/EmbedStream`, asIs, asIs);
  const waiting: ((reply: Buffer) => void)[] = [];
  call.on('data', (reply: Buffer) => waiting.shift()?.(reply));
  call.on('error', (error) => {
    throw error;
  });
  const ended = new Promise<void>((resolve) => call.on('end', resolve));
  return {
    send(index, done) {
      waiting.push(done);
      call.write(requests[index % requests.length]!);
    },
    end() {
      call.end();
      return ended;
    },
  };
}

function measure({ address, kind, concurrency, durationMs, texts }: CeilingTask): Promise<CeilingResult> {
  const client = new Client(address, credentials.createInsecure());
  const wire = kind === 'unary' ? unary(client, texts) : stream(client, texts);
  const started = performance.now();
  let [sent, calls, busy, replyBytes] = [0, 0, concurrency, 0];
  return new Promise((resolve) => {
    const next = () => {
      wire.send(sent++, (reply) => {
        calls++;
        replyBytes = reply.byteLength;
        const elapsedMs = performance.now() - started;
        if (elapsedMs < durationMs) next();
        else if (--busy === 0) {
          const result = { callsPerSecond: (calls / elapsedMs) * 1000, calls, replyBytes };
          void wire.end().then(() => {
            client.close();
            resolve(result);
          });
        }
      });
    };
    for (let caller = 0; caller < concurrency; caller++) next();
  });
}

process.on('message', async (task: CeilingTask) => process.send!(await measure(task)));
