import { create } from '@bufbuild/protobuf';
import {
  type Embedding,
  EmbeddingSchema,
  type EmbedRequest,
  type EmbedResponse,
  EmbedResponseSchema,
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
