import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { handleUnaryCall, ServerUnaryCall } from '@grpc/grpc-js';
import { Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { EmbedService, ModelService, RerankService, ScoreKind } from '../../proto/gen/serving_pb.js';

type Handle<I extends DescMessage, O extends DescMessage> = (
  request: MessageShape<I>,
  call: ServerUnaryCall<MessageShape<I>, MessageShape<O>>,
) => MessageInitShape<O> | Promise<MessageInitShape<O>>;

/** One version of a model; a test may change it while the server runs. */
export interface FakeVersion {
  name: string;
  version: number;
  space: string;
  dimension: number;
  maxTokens: number;
  state: string;
  tasks: string[];
  /** The vector of a text. */
  vector: (text: string) => number[];
  /** Tokens of a text, without special ones. */
  tokens: (text: string) => number;
}

/** The version that answers by default, and the server; thrown `{ code, details }` become the call's status. */
export interface FakeModel extends FakeVersion {
  /** Versions that are served beside it. */
  others: FakeVersion[];
  /** Called before each reply; may wait or throw. */
  before: (method: string, call: ServerUnaryCall<unknown, unknown>) => void | Promise<void>;
  score: (query: string, document: string) => number;
}

export interface FakeModelServer {
  address: string;
  port: number;
  model: FakeModel;
  /** Inputs of every call in order of arrival, and the model and version that it named. */
  calls: { method: string; inputs: string[]; peer: string; model: string; version: number }[];
  /** Breaks all connections at once. */
  kill(): void;
}

/** A model server that speaks the real contract on a real socket, with made-up vectors. */
export async function startFakeModelServer(port = 0): Promise<FakeModelServer> {
  const calls: FakeModelServer['calls'] = [];
  const model: FakeModel = {
    ...fakeVersion(1),
    others: [],
    before: () => undefined,
    score: (query, document) => (document.includes(query) ? 0.9 : 0.1),
  };
  const server = new Server();
  const pick = (request: { model: string; version: number; expectSpace?: string }, task = 'embed') => {
    const all = [model, ...model.others].filter(({ state }) => state !== 'failed');
    const wanted = request.model || onlyOf(all, task);
    const named = all.filter(({ name }) => name === wanted);
    if (named.length === 0) throw refusal(status.NOT_FOUND, 'MODEL_NOT_FOUND');
    const fit = named.filter(({ version }) => request.version === 0 || version === request.version);
    if (fit.length === 0) throw refusal(status.NOT_FOUND, 'VERSION_NOT_FOUND');
    const chosen = fit.find(({ space }) => !request.expectSpace || space === request.expectSpace);
    if (!chosen) throw refusal(status.FAILED_PRECONDITION, 'SPACE_MISMATCH');
    return chosen;
  };
  const unary = <I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    handle: Handle<I, O>,
    inputs: (request: MessageShape<I>) => string[],
  ) => {
    const serve: handleUnaryCall<MessageShape<I>, MessageShape<O>> = async (call, reply) => {
      const { model: name = '', version = 0 } = call.request as { model?: string; version?: number };
      const named = { model: name, version };
      calls.push({ method: method.name, inputs: inputs(call.request), peer: call.getPeer(), ...named });
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
    (request) => {
      const answering = pick(request);
      const embeddings = request.inputs.map((text) => ({
        packed: packed(answering.vector(text)),
        truncated: text.length > 1_000,
      }));
      return { model: ref(answering), dimension: answering.dimension, embeddings };
    },
    ({ inputs }) => inputs,
  );
  unary(
    EmbedService.method.tokenize,
    (request) => {
      const answering = pick(request);
      const results = request.inputs.map((text) => ({ count: answering.tokens(text) }));
      return { model: ref(answering), results, maxTokens: answering.maxTokens, specialTokens: 2 };
    },
    ({ inputs }) => inputs,
  );
  unary(
    ModelService.method.listModels,
    () => ({
      models: [model, ...model.others].map((one) => ({
        ...ref(one),
        dimension: one.dimension,
        maxTokens: one.maxTokens,
        state: one.state,
        served: true,
        tasks: one.tasks,
      })),
    }),
    () => [],
  );
  unary(
    RerankService.method.rerank,
    (request) => {
      const { query, documents } = request;
      const answering = pick(request, 'rerank');
      const results = documents.map((text, index) => ({
        index,
        score: model.score(query, text),
        rawScore: 0.5,
      }));
      results.sort((a, b) => b.score - a.score);
      const isCrossEncoder = !answering.tasks.includes('embed');
      const kind = isCrossEncoder ? ScoreKind.CROSS_ENCODER : ScoreKind.LATE_INTERACTION;
      return { model: ref(answering), kind, results };
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

/** A version with a space of its own, `space-<version>`, and made-up vectors of three floats. */
export function fakeVersion(version: number, more: Partial<FakeVersion> = {}): FakeVersion {
  return {
    name: 'mini',
    version,
    space: `space-${version}`,
    dimension: 3,
    maxTokens: 256,
    state: 'ready',
    tasks: ['embed', 'rerank', 'infer'],
    vector: (text) => [text.length, version, 0.5],
    tokens: (text) => text.split(/\s+/).filter(Boolean).length,
    ...more,
  };
}

/** Vectors are made by no cross-encoder. */
export function crossEncoder(name: string): FakeVersion {
  return fakeVersion(1, { name, space: '', dimension: 0, tasks: ['rerank', 'infer'] });
}

/** The model that a request without a name means; for reranking, cross-encoders come first. */
function onlyOf(all: readonly FakeVersion[], task: string): string {
  const able = all.filter(({ tasks }) => tasks.includes(task));
  const crossEncoders = able.filter(({ tasks }) => !tasks.includes('embed'));
  const [name, ...more] = new Set((crossEncoders.length > 0 ? crossEncoders : able).map((one) => one.name));
  if (name === undefined) throw refusal(status.NOT_FOUND, 'MODEL_NOT_FOUND');
  if (more.length > 0) throw refusal(status.INVALID_ARGUMENT, 'INVALID_INPUT');
  return name;
}

function ref({ name, version, space }: FakeVersion) {
  return { name, version, space };
}

/** A refusal as the model server words it. */
function refusal(code: number, reason: string): { code: number; details: string; metadata: Metadata } {
  const metadata = new Metadata();
  metadata.set('nereid-reason', reason);
  return { code, details: `refused: ${reason}`, metadata };
}

function packed(vector: number[]): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(vector.length * 4));
  for (const [index, value] of vector.entries()) bytes.setFloat32(index * 4, value, true);
  return new Uint8Array(bytes.buffer);
}
