import { create } from '@bufbuild/protobuf';
import {
  type Embedding,
  type EmbedRequest,
  type EmbedResponse,
  type TokenizeRequest,
  type TokenizeResponse,
  TokenizeResponseSchema,
  VectorEncoding,
} from '../../../proto/gen/serving_pb.js';
import type { TextFacts } from '../../models/embedding-cache/embedded-text.ts';
import type { ApiDeps } from '../call.ts';
import { type CallContext, RequestOptions } from '../call-context.ts';
import { modelRef, refuseTooMany, targetOf, timings, truncation } from './message.ts';

/** Embed of proto/serving.proto. @throws ServingError */
export async function embed(
  deps: ApiDeps,
  request: EmbedRequest,
  context: CallContext,
): Promise<EmbedResponse> {
  const started = performance.now();
  refuseTooMany(request.inputs.length, deps.maxInputsPerCall);
  const target = targetOf(request, 'embed', context);
  const options = new RequestOptions(context, truncation(request), request.noCache);
  const outcome = await deps.serving.embed(target, request.inputs, options);
  const asFloats = request.encoding === VectorEncoding.FLOATS;
  // Messages with all their fields, as create() makes them; that takes ten times as long, and this is done for every text.
  return {
    $typeName: 'nereid.serving.v1.EmbedResponse',
    model: modelRef(outcome.ref),
    dimension: outcome.ref.dimension,
    embeddings: outcome.texts.map((text, index) => toEmbedding(text, outcome.vectors[index]!, asFloats)),
    timings: timings(outcome.timings, started),
  };
}

function toEmbedding(facts: TextFacts, vector: Float32Array, asFloats: boolean): Embedding {
  const { tokens, tokensUsed, truncated, cached } = facts;
  return {
    $typeName: 'nereid.serving.v1.Embedding',
    // Float32Array is little-endian on every platform that ONNX Runtime's Node binding exists for.
    packed: asFloats
      ? NO_BYTES
      : new Uint8Array(vector.buffer as ArrayBuffer, vector.byteOffset, vector.byteLength),
    values: asFloats ? Array.from(vector) : [],
    tokens,
    tokensUsed,
    truncated,
    cached,
  };
}

const NO_BYTES = new Uint8Array(0);

/** Tokenize of proto/serving.proto. @throws ServingError */
export async function tokenize(
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
