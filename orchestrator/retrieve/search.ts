import { RagError } from '../errors.ts';
import type { CallOptions, CollectionInfo, ScoredChunk } from '../ports.ts';
import type { FusedChunk } from './fuse.ts';
import { fuse, single } from './fuse.ts';
import type {
  HitScoreKind,
  SearchDeps,
  SearchHit,
  SearchMode,
  SearchRequest,
  SearchResult,
  SearchTimings,
} from './hit.ts';
import type { PlanResult, Source } from './plan.ts';
import { runSources } from './plan.ts';
import type { RerankedChunk, Reranking } from './rerank.ts';
import { rerank } from './rerank.ts';
import { fetchVisible } from './visible.ts';
import { within } from './within.ts';

export type * from './hit.ts';

/** Characters in a query at most. */
export const maxQueryLength = 8_000;
/** Hits in a reply at most. */
export const maxTopK = 100;

const defaultTopK = 10;
/** Candidates that are scored again; more of them only when more hits are wanted. */
const rerankDepth = 50;
/** Chunks that each source gives to the fusion at least. */
const sourceDepth = 100;
const defaultTimeoutMs = 10_000;

type SourceName = 'dense' | 'keyword';

/**
 * Finds the chunks that answer a query best. A source that fails is reported in `degraded`; the search fails only
 * when none is left. An empty store gives no hits.
 * @throws RagError INVALID_INPUT, NOT_FOUND (no such collection), SPACE_MISMATCH, CANCELLED, DEADLINE_EXCEEDED, or
 * the reason of the first source when all failed
 */
export async function search(
  deps: SearchDeps,
  request: SearchRequest,
  options: CallOptions = {},
): Promise<SearchResult> {
  const startedAt = performance.now();
  const { query, collection, topK, mode } = checked(request);
  const info = await findCollection(deps, collection, options);
  const timings: Omit<SearchTimings, 'total_ms'> = {};
  const plan = info ? await runPlan(deps, { query, info, mode, topK, timings }, options) : undefined;
  const fuseStartedAt = performance.now();
  const fused = plan ? merge(plan, mode) : [];
  timings.fuse_ms = elapsedSince(fuseStartedAt);
  const wantsRerank = (request.rerank ?? true) && fused.length > 0;
  const rerankStartedAt = performance.now();
  const reranking: Reranking<SourceName> = wantsRerank
    ? await rerank(
        deps.reranker,
        { query, candidates: fused.slice(0, Math.max(rerankDepth, topK)) },
        {
          timeoutMs: deps.limits?.rerankTimeoutMs ?? defaultTimeoutMs,
          space: info?.space,
          signal: options.signal,
        },
      )
    : { chunks: fused, degraded: [] };
  if (wantsRerank) timings.rerank_ms = elapsedSince(rerankStartedAt);
  return {
    hits: reranking.chunks.slice(0, topK).map(toHit),
    collection,
    mode,
    score_kind: reranking.kind ?? baseScoreKind(mode),
    degraded: [...(plan?.degraded ?? []), ...reranking.degraded],
    timings: { ...timings, total_ms: elapsedSince(startedAt) },
    space: info?.space,
  };
}

function checked(request: SearchRequest): {
  query: string;
  collection: string;
  topK: number;
  mode: SearchMode;
} {
  const { query, collection, top_k: topK = defaultTopK, mode = 'hybrid' } = request;
  if (query.trim() === '') throw new RagError('INVALID_INPUT', 'The query is empty; say what to look for.');
  if (query.length > maxQueryLength) {
    const message = `The query has ${query.length} characters; at most ${maxQueryLength} are allowed.`;
    throw new RagError('INVALID_INPUT', message);
  }
  if (!Number.isInteger(topK) || topK < 1 || topK > maxTopK) {
    throw new RagError('INVALID_INPUT', `top_k is ${topK}; it must be a whole number from 1 to ${maxTopK}.`);
  }
  return { query, collection, topK, mode };
}

/** Undefined when nothing at all has been ingested yet: there is nothing to find, but nothing wrong either. */
async function findCollection(
  deps: SearchDeps,
  name: string,
  { signal }: CallOptions,
): Promise<CollectionInfo | undefined> {
  const limits = { what: 'The store', timeoutMs: deps.limits?.sourceTimeoutMs ?? defaultTimeoutMs, signal };
  const info = await within(() => deps.vectors.getCollection(name), limits);
  if (info) return info;
  const others = (await within(() => deps.vectors.listCollections(), limits)).map((other) => other.name);
  if (others.length === 0) return undefined;
  const message = `There is no collection "${name}". There is: ${others.slice(0, 20).join(', ')}.`;
  throw new RagError('NOT_FOUND', message);
}

interface PlanInput {
  query: string;
  info: CollectionInfo;
  mode: SearchMode;
  topK: number;
  /** Filled with the times of embedding and of each source. */
  timings: Omit<SearchTimings, 'total_ms'>;
}

async function runPlan(
  deps: SearchDeps,
  { query, info, mode, topK, timings }: PlanInput,
  options: CallOptions,
): Promise<PlanResult<SourceName, ScoredChunk[]>> {
  const visible = {
    collection: info.name,
    wanted: Math.max(sourceDepth, topK),
    metadata: deps.metadata,
  };
  const dense: Source<SourceName, ScoredChunk[]> = {
    name: 'dense',
    async run(signal) {
      const startedAt = performance.now();
      const vector = await embedQuery(deps, query, info, signal);
      timings.embed_ms = elapsedSince(startedAt);
      return fetchVisible((limit) => deps.vectors.searchDense(info.name, vector, limit), visible);
    },
  };
  const keyword: Source<SourceName, ScoredChunk[]> = {
    name: 'keyword',
    run: () => fetchVisible((limit) => deps.vectors.searchText(info.name, query, limit), visible),
  };
  const sources = { dense: [dense], keyword: [keyword], hybrid: [dense, keyword] }[mode];
  const plan = await runSources(sources, {
    timeoutMs: deps.limits?.sourceTimeoutMs ?? defaultTimeoutMs,
    signal: options.signal,
  });
  const denseMs = plan.elapsedMs.get('dense');
  if (denseMs !== undefined) timings.dense_ms = rounded(denseMs - (timings.embed_ms ?? 0));
  const keywordMs = plan.elapsedMs.get('keyword');
  if (keywordMs !== undefined) timings.keyword_ms = rounded(keywordMs);
  return plan;
}

async function embedQuery(
  deps: SearchDeps,
  query: string,
  info: CollectionInfo,
  signal: AbortSignal,
): Promise<Float32Array> {
  const { name, space } = info;
  const refuse = (why: string, cause?: unknown) => {
    const message = `Collection "${name}" can't be searched by meaning: it holds vectors of the space ${space}. ${why} Serve the model that filled the collection, or ingest its documents into a new collection. Mode "keyword" works meanwhile.`;
    return new RagError('SPACE_MISMATCH', message, { details: { collection: space }, cause });
  };
  const embedded = await deps.embedder.embed([query], { space, signal }).catch((thrown: unknown) => {
    const error = RagError.from(thrown);
    throw error.reason === 'SPACE_MISMATCH' ? refuse(error.message, error) : error;
  });
  if (embedded.space === space) return embedded.vectors[0]!;
  throw refuse(`${embedded.model} version ${embedded.version} answered in the space ${embedded.space}.`);
}

function merge(plan: PlanResult<SourceName, ScoredChunk[]>, mode: SearchMode): FusedChunk<SourceName>[] {
  return mode === 'hybrid' ? fuse(plan.results) : single(mode, plan.results.get(mode) ?? []);
}

function baseScoreKind(mode: SearchMode): HitScoreKind {
  return ({ dense: 'cosine', keyword: 'bm25', hybrid: 'rrf' } as const)[mode];
}

function toHit({ chunk, score, sources, rerank: reranked }: RerankedChunk<SourceName>): SearchHit {
  return {
    document_id: chunk.documentId,
    chunk_id: chunk.chunkId,
    title: chunk.title,
    text: chunk.text,
    score,
    ...(chunk.page === undefined ? {} : { page: chunk.page }),
    ...(chunk.pageEnd === undefined ? {} : { page_end: chunk.pageEnd }),
    ...(chunk.pageEndOffset === undefined ? {} : { page_end_offset: chunk.pageEndOffset }),
    offsets: { start: chunk.start, end: chunk.end },
    sources: { ...sources, ...(reranked ? { rerank: reranked } : {}) },
  };
}

function elapsedSince(startedAt: number): number {
  return rounded(performance.now() - startedAt);
}

/** To a hundredth of a millisecond. */
function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}
