import { create } from '@bufbuild/protobuf';
import {
  type RerankRequest,
  type RerankResponse,
  RerankResponseSchema,
  RerankResultSchema,
  ScoreKind,
} from '../../../proto/gen/serving_pb.js';
import { ServingError } from '../../errors.ts';
import type { ApiDeps } from '../call.ts';
import { type CallContext, RequestOptions } from '../call-context.ts';
import { modelRef, refuseTooMany, targetOf, timings, truncation } from './message.ts';

const KINDS = {
  late_interaction: ScoreKind.LATE_INTERACTION,
  cross_encoder: ScoreKind.CROSS_ENCODER,
} as const;

/** Rerank of proto/serving.proto. @throws ServingError */
export async function rerank(
  deps: ApiDeps,
  request: RerankRequest,
  context: CallContext,
): Promise<RerankResponse> {
  const started = performance.now();
  refuseTooMany(request.documents.length, deps.maxInputsPerCall);
  const { query, documents } = request;
  const kind = wantedKind(request.kind);
  const target = targetOf(request, 'rerank', context);
  const outcome = await deps.serving.rerank(
    target,
    { query, documents, kind },
    new RequestOptions(context, truncation(request)),
  );
  const ranked = outcome.results
    .map(({ score, rawScore, encoded }, index) =>
      create(RerankResultSchema, {
        index,
        score,
        rawScore,
        tokens: encoded.tokens,
        truncated: encoded.truncated,
      }),
    )
    // Equal scores keep the order of the request, so that an answer can be reproduced.
    .sort((a, b) => b.rawScore - a.rawScore || a.index - b.index);
  return create(RerankResponseSchema, {
    model: modelRef(outcome.ref),
    kind: KINDS[outcome.kind],
    results: request.topN > 0 ? ranked.slice(0, request.topN) : ranked,
    timings: timings(outcome.timings, started),
  });
}

/** @throws ServingError INVALID_INPUT for a number that stands for no kind */
function wantedKind(asked: ScoreKind): keyof typeof KINDS | undefined {
  if (asked === ScoreKind.UNSPECIFIED) return undefined;
  const [known] = Object.entries(KINDS).find(([, kind]) => kind === asked) ?? [];
  if (known !== undefined) return known as keyof typeof KINDS;
  throw new ServingError('INVALID_INPUT', `kind ${asked} is no way of scoring that there is.`);
}
