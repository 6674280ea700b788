import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import {
  type handleBidiStreamingCall,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
} from '@grpc/grpc-js';
import { onTestFinished } from 'vitest';
import {
  type EmbedRequest,
  type EmbedResponse,
  EmbedResponseSchema,
  EmbedService,
  type EmbedStreamRequest,
  type EmbedStreamResponse,
  EmbedStreamResponseSchema,
  type TokenizeRequest,
  type TokenizeResponse,
  TokenizeResponseSchema,
} from '../../proto/gen/serving_pb.js';

/** What a fake call is refused with. */
export interface FakeRefusal {
  code: number;
  reason?: string;
  details: string;
}

export interface FakeEmbedServer {
  address: string;
  /** Texts of all Embed calls and messages, in order of arrival. */
  texts: string[];
  /** Metadata of the last call or stream. */
  metadata: () => Record<string, unknown>;
  /** Called before each answer; may wait, or say that the call is refused. */
  before: (texts: readonly string[]) => Promise<FakeRefusal | undefined> | FakeRefusal | undefined;
  /** The vector of every text. */
  vector: number[];
  /** Breaks all connections. */
  kill: () => void;
}

/** EmbedService on a real socket: one word is one token, and all vectors are the same. */
export async function startFakeEmbedServer(): Promise<FakeEmbedServer> {
  const server = new Server();
  let metadata = new Metadata();
  const fake: FakeEmbedServer = {
    address: '',
    texts: [],
    metadata: () => metadata.getMap(),
    before: () => undefined,
    vector: [1, 2, 3],
    kill: () => server.forceShutdown(),
  };
  const model = { name: 'mini', version: 1, space: 's' };
  const answer = (texts: readonly string[]): EmbedResponse => {
    const packed = new Uint8Array(Float32Array.from(fake.vector).buffer);
    return create(EmbedResponseSchema, { model, dimension: 3, embeddings: texts.map(() => ({ packed })) });
  };
  const embed: handleUnaryCall<EmbedRequest, EmbedResponse> = async ({ request, metadata: sent }, reply) => {
    metadata = sent;
    fake.texts.push(...request.inputs);
    const refusal = await fake.before(request.inputs);
    if (refusal === undefined) reply(null, answer(request.inputs));
    else {
      const trailers = new Metadata();
      if (refusal.reason !== undefined) trailers.set('nereid-reason', refusal.reason);
      reply({ code: refusal.code, details: refusal.details, metadata: trailers });
    }
  };
  const stream: handleBidiStreamingCall<EmbedStreamRequest, EmbedStreamResponse> = (call) => {
    metadata = call.metadata;
    call.on('data', async ({ correlationId, request }: EmbedStreamRequest) => {
      fake.texts.push(...request!.inputs);
      const refusal = await fake.before(request!.inputs);
      const result =
        refusal === undefined
          ? { case: 'response' as const, value: answer(request!.inputs) }
          : { case: 'error' as const, value: { reason: refusal.reason ?? '', message: refusal.details } };
      call.write(create(EmbedStreamResponseSchema, { correlationId, result }));
    });
    call.on('end', () => call.end());
  };
  const tokenize: handleUnaryCall<TokenizeRequest, TokenizeResponse> = ({ request }, reply) => {
    const results = request.inputs.map((text) => {
      const ids = text.split(/\s+/).map((word) => word.length);
      return { count: ids.length, ids };
    });
    reply(null, create(TokenizeResponseSchema, { model, results, maxTokens: 64, specialTokens: 2 }));
  };
  const method = <I extends DescMessage, O extends DescMessage>(
    name: string,
    { input, output }: { input: I; output: O },
    isStream: boolean,
  ) => ({
    path: `/${EmbedService.typeName}/${name}`,
    requestStream: isStream,
    responseStream: isStream,
    requestSerialize: (value: MessageShape<I>) => Buffer.from(toBinary(input, value)),
    requestDeserialize: (bytes: Buffer) => fromBinary(input, bytes),
    responseSerialize: (value: MessageShape<O>) => Buffer.from(toBinary(output, value)),
    responseDeserialize: (bytes: Buffer) => fromBinary(output, bytes),
  });
  server.addService(
    {
      embed: method('Embed', EmbedService.method.embed, false),
      embedStream: method('EmbedStream', EmbedService.method.embedStream, true),
      tokenize: method('Tokenize', EmbedService.method.tokenize, false),
    },
    { embed, embedStream: stream, tokenize },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  onTestFinished(() => server.forceShutdown());
  fake.address = `127.0.0.1:${port}`;
  return fake;
}
