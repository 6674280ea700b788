import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { handleUnaryCall, ServerUnaryCall } from '@grpc/grpc-js';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { EmbedService, ModelService, RerankService, ScoreKind } from '../../proto/gen/serving_pb.js';

type Handle<I extends DescMessage, O extends DescMessage> = (
  request: MessageShape<I>,
  call: ServerUnaryCall<MessageShape<I>, MessageShape<O>>,
) => MessageInitShape<O> | Promise<MessageInitShape<O>>;

/** What a test may change while the server runs; thrown `{ code, details }` become the call's status. */
export interface FakeModel {
  space: string;
  dimension: number;
  /** Called before each reply; may wait or throw. */
  before: (method: string, call: ServerUnaryCall<unknown, unknown>) => void | Promise<void>;
  /** The vector of a text. */
  vector: (text: string) => number[];
  score: (query: string, document: string) => number;
}

export interface FakeModelServer {
  address: string;
  port: number;
  model: FakeModel;
  /** Inputs of every call in order of arrival. */
  calls: { method: string; inputs: string[]; peer: string }[];
  /** Breaks all connections at once. */
  kill(): void;
}

/** A model server that speaks the real contract on a real socket, with made-up vectors. */
export async function startFakeModelServer(port = 0): Promise<FakeModelServer> {
  const calls: FakeModelServer['calls'] = [];
  const model: FakeModel = {
    space: 'space-1',
    dimension: 3,
    before: () => undefined,
    vector: (text) => [text.length, 1, 0.5],
    score: (query, document) => (document.includes(query) ? 0.9 : 0.1),
  };
  const server = new Server();
  const ref = () => ({ name: 'mini', version: 1, space: model.space });
  const unary = <I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    handle: Handle<I, O>,
    inputs: (request: MessageShape<I>) => string[],
  ) => {
    const serve: handleUnaryCall<MessageShape<I>, MessageShape<O>> = async (call, reply) => {
      calls.push({ method: method.name, inputs: inputs(call.request), peer: call.getPeer() });
      try {
        await model.before(method.name, call);
        reply(null, create(method.output, await handle(call.request, call)));
      } catch (error) {
        reply(error as { code: number; details: string });
      }
    };
    server.addService(
      {
        [method.name]: {
          path: `/${method.parent.typeName}/${method.name}`,
          requestStream: false,
          responseStream: false,
          requestSerialize: (value: MessageShape<I>) => Buffer.from(toBinary(method.input, value)),
          requestDeserialize: (bytes: Buffer) => fromBinary(method.input, bytes),
          responseSerialize: (value: MessageShape<O>) => Buffer.from(toBinary(method.output, value)),
          responseDeserialize: (bytes: Buffer) => fromBinary(method.output, bytes),
        },
      },
      { [method.name]: serve },
    );
  };

  unary(
    EmbedService.method.embed,
    ({ inputs, expectSpace }) => {
      if (expectSpace && expectSpace !== model.space)
        throw { code: 9, details: 'the space is another one' };
      const embeddings = inputs.map((text) => ({
        packed: packed(model.vector(text)),
        truncated: text.length > 1_000,
      }));
      return { model: ref(), dimension: model.dimension, embeddings };
    },
    ({ inputs }) => inputs,
  );
  unary(
    EmbedService.method.tokenize,
    ({ inputs }) => {
      const results = inputs.map((text) => ({ count: text.split(/\s+/).filter(Boolean).length }));
      return { model: ref(), results, maxTokens: 256, specialTokens: 2 };
    },
    ({ inputs }) => inputs,
  );
  unary(
    ModelService.method.listModels,
    () => ({ models: [{ ...ref(), dimension: model.dimension, maxTokens: 256 }] }),
    () => [],
  );
  unary(
    RerankService.method.rerank,
    ({ query, documents }) => {
      const results = documents.map((text, index) => ({
        index,
        score: model.score(query, text),
        rawScore: 0.5,
      }));
      results.sort((a, b) => b.score - a.score);
      return { model: ref(), kind: ScoreKind.LATE_INTERACTION, results };
    },
    ({ documents }) => documents,
  );
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, actual) =>
      error ? reject(error) : resolve(actual),
    );
  });
  return { address: `127.0.0.1:${bound}`, port: bound, model, calls, kill: () => server.forceShutdown() };
}

function packed(vector: number[]): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(vector.length * 4));
  for (const [index, value] of vector.entries()) bytes.setFloat32(index * 4, value, true);
  return new Uint8Array(bytes.buffer);
}
