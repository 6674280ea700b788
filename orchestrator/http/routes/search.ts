import { z } from 'zod';
import type { Reason } from '../../errors.ts';
import { maxQueryLength, maxTopK } from '../../retrieve/search.ts';
import type { AppDeps } from '../app-deps.ts';
import { collectionName } from '../fields.ts';
import type { Route } from '../route.ts';
import { route } from '../route.ts';

/** A query of the longest kind in any spelling fits. */
const maxBodyBytes = 128 * 1024;
const milliseconds = z.number().min(0);
const rank = z.strictObject({ rank: z.int(), score: z.number() });

export const mode = z.enum(['dense', 'keyword', 'hybrid']);

export const offsets = z
  .strictObject({ start: z.int(), end: z.int() })
  .meta({ id: 'Offsets', description: "UTF-16 code units of the document's extracted text" });

export const degradation = z
  .strictObject({ source: z.string(), reason: z.string(), message: z.string() })
  .meta({ id: 'Degradation', description: 'a part that failed while the rest went on' });

export const searchTimings = z
  .strictObject({
    embed_ms: milliseconds.optional(),
    dense_ms: milliseconds.optional(),
    keyword_ms: milliseconds.optional(),
    fuse_ms: milliseconds.optional(),
    rerank_ms: milliseconds.optional(),
    total_ms: milliseconds,
  })
  .meta({ id: 'SearchTimings', description: 'a stage that did not run is absent' });

/** Where a hit comes from; answers cite the same. */
export const passage = {
  document_id: z.string(),
  chunk_id: z.string(),
  title: z.string(),
  text: z.string(),
  score: z.number().meta({ description: 'higher is better; comparable only within one reply' }),
  page: z.int().optional().meta({ description: 'first page, from 1; absent when the format has no pages' }),
  page_end: z.int().optional().meta({ description: 'last page, when the chunk crosses a page border' }),
  page_end_offset: z.int().optional().meta({ description: 'where page_end begins, on the scale of offsets' }),
  offsets,
};

const hit = z
  .strictObject({
    ...passage,
    sources: z.strictObject({
      dense: rank.optional(),
      keyword: rank.optional(),
      rerank: rank
        .extend({ raw_score: z.number(), kind: z.enum(['late_interaction', 'cross_encoder']) })
        .optional(),
    }),
  })
  .meta({ id: 'Hit' });

const searchRequest = z
  .strictObject({
    query: z.string().trim().min(1).max(maxQueryLength),
    collection: collectionName,
    top_k: z.int().min(1).max(maxTopK).default(10),
    mode: mode.default('hybrid'),
    rerank: z.boolean().default(true).meta({ description: 'score the best 50 again' }),
  })
  .meta({ id: 'SearchRequest' });

const searchResponse = z
  .strictObject({
    hits: z.array(hit),
    collection: z.string(),
    mode,
    score_kind: z.enum(['cosine', 'bm25', 'rrf', 'fused_late_interaction', 'fused_cross_encoder']),
    degraded: z.array(degradation).meta({ description: 'empty when every part answered' }),
    timings: searchTimings,
  })
  .meta({ id: 'SearchResponse' });

/** Why a search may fail; whatever answers from one may fail the same way. */
export const searchErrors = [
  'INVALID_INPUT',
  'TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
  'NOT_FOUND',
  'SPACE_MISMATCH',
  'QUEUE_FULL',
  'MODEL_SERVER_UNAVAILABLE',
  'MODEL_SERVER_REFUSED',
  'STORE_UNAVAILABLE',
  'DEADLINE_EXCEEDED',
] as const satisfies readonly Reason[];

/** Finding passages, with no chat model involved. */
export function searchRoutes({ config, search }: AppDeps): Route[] {
  return [
    route({
      method: 'post',
      path: '/v1/search',
      summary: 'The passages that answer a query best',
      tag: 'search',
      body: searchRequest,
      maxBodyBytes,
      responses: { 200: { description: 'Hits, best first', json: searchResponse } },
      errors: searchErrors,
      timeoutMs: config.requestTimeoutMs,
      async handle({ body, signal }) {
        const { space: _, ...found } = await search(body, { signal });
        return { status: 200, body: found };
      },
    }),
  ];
}
