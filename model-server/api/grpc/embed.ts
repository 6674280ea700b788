import { create } from '@bufbuild/protobuf';
import type { ServerDuplexStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import {
  type Embedding,
  EmbeddingSchema,
  type EmbedRequest,
  type EmbedResponse,
  EmbedResponseSchema,
  type EmbedStreamRequest,
  type EmbedStreamResponse,
  EmbedStreamResponseSchema,
  type TokenizeRequest,
  type TokenizeResponse,
  TokenizeResponseSchema,
  VectorEncoding,
} from '../../../proto/gen/serving_pb.js';
import { ServingError } from '../../errors.ts';
import type { TextFacts } from '../../models/embedding-cache/embedded-text.ts';
import { type ApiDeps, measured } from '../call.ts';
import { toStatus, unary } from './call.ts';
import { CallContext, RequestOptions } from './call-context.ts';
import { modelRef, refuseTooMany, targetOf, timings, truncation } from './message.ts';
import { Undecodable } from './service.ts';

/** Requests of one stream that are computed at the same time; beyond that the stream is not read. */
const MAX_STREAM_IN_FLIGHT = 256;

/** EmbedService of proto/serving.proto. */
export function embedService(deps: ApiDeps): UntypedServiceImplementation {
  return {
    embed: unary(deps, 'Embed', (request: EmbedRequest, context) => embed(deps, request, context)),
    tokenize: unary(deps, 'Tokenize', (request: TokenizeRequest, context) =>
      tokenize(deps, request, context),
    ),
    embedStream: (call: ServerDuplexStream<EmbedStreamRequest | Undecodable, EmbedStreamResponse>) =>
      embedStream(deps, call),
  };
}

async function embed(deps: ApiDeps, request: EmbedRequest, context: CallContext): Promise<EmbedResponse> {
  const started = performance.now();
  refuseTooMany(request.inputs.length, deps.maxInputsPerCall);
  const target = targetOf(request, 'embed', context);
  const options = new RequestOptions(context, truncation(request), request.noCache);
  const outcome = await deps.serving.embed(target, request.inputs, options);
  const asFloats = request.encoding === VectorEncoding.FLOATS;
  return create(EmbedResponseSchema, {
    model: modelRef(outcome.ref),
    dimension: outcome.ref.dimension,
    embeddings: outcome.texts.map((text, index) => toEmbedding(text, outcome.vectors[index]!, asFloats)),
    timings: timings(outcome.timings, started),
  });
}

function toEmbedding(facts: TextFacts, vector: Float32Array, asFloats: boolean): Embedding {
  const { tokens, tokensUsed, truncated, cached } = facts;
  const embedding = create(EmbeddingSchema, { tokens, tokensUsed, truncated, cached });
  // Float32Array is little-endian on every platform that ONNX Runtime's Node binding exists for.
  if (asFloats) embedding.values = Array.from(vector);
  else embedding.packed = new Uint8Array(vector.buffer as ArrayBuffer, vector.byteOffset, vector.byteLength);
  return embedding;
}

async function tokenize(
  deps: ApiDeps,
  request: TokenizeRequest,
  context: CallContext,
): Promise<TokenizeResponse> {
  refuseTooMany(request.inputs.length, deps.maxInputsPerCall);
  const target = targetOf(request, 'tokenize', context);
  const { ref, ids, maxTokens, specialTokens } = await deps.serving.tokenize(target, request.inputs, context);
  return create(TokenizeResponseSchema, {
    model: modelRef(ref),
    results: ids.map((textIds) => ({ count: textIds.length, ids: request.withIds ? textIds : [] })),
    maxTokens,
    specialTokens,
  });
}

function embedStream(
  deps: ApiDeps,
  call: ServerDuplexStream<EmbedStreamRequest | Undecodable, EmbedStreamResponse>,
): void {
  // The reason is in the context's signal; without a listener the error would end the process.
  call.on('error', () => undefined);
  let context: CallContext;
  try {
    context = new CallContext(call);
  } catch (thrown) {
    call.emit('error', toStatus(ServingError.from(thrown)));
    return;
  }
  let inFlight = 0;
  let ended = false;
  let draining = false;
  // A client that does not read its answers is not read either, or the answers would pile up here.
  const flow = () => {
    if (draining || inFlight >= MAX_STREAM_IN_FLIGHT) call.pause();
    else call.resume();
    if (ended && inFlight === 0) call.end();
  };
  call.on('drain', () => {
    draining = false;
    flow();
  });
  call.on('data', (message: EmbedStreamRequest | Undecodable) => {
    inFlight++;
    flow();
    answer(deps, message, context).then((response) => {
      inFlight--;
      draining = !call.write(response);
      flow();
    });
  });
  call.on('end', () => {
    ended = true;
    flow();
  });
}

async function answer(
  deps: ApiDeps,
  message: EmbedStreamRequest | Undecodable,
  context: CallContext,
): Promise<EmbedStreamResponse> {
  const correlationId = message instanceof Undecodable ? '' : message.correlationId;
  try {
    const response = await measured(deps, 'EmbedStream', async () => {
      if (message instanceof Undecodable) throw message.error;
      if (message.request === undefined)
        throw new ServingError('INVALID_INPUT', 'the stream message holds no request.');
      return embed(deps, message.request, context);
    });
    return create(EmbedStreamResponseSchema, {
      correlationId,
      result: { case: 'response', value: response },
    });
  } catch (thrown) {
    const { reason, message: text, row, retryAfterMs } = ServingError.from(thrown);
    return create(EmbedStreamResponseSchema, {
      correlationId,
      result: {
        case: 'error',
        value: {
          reason,
          message: text,
          grpcCode: row.grpc,
          retryable: row.retryable,
          retryAfterMs: retryAfterMs ?? 0,
        },
      },
    });
  }
}
