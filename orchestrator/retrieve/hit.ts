import type { Reason } from '../errors.ts';
import type { Embedder, MetadataStore, Reranker, ScoreKind, VectorStore } from '../ports.ts';

/** Which sources a search asks: vectors, BM25, or both fused. */
export type SearchMode = 'dense' | 'keyword' | 'hybrid';

/** A search as it stands on the wire. */
export interface SearchRequest {
  /** 1 to 8,000 characters. */
  query: string;
  collection: string;
  /** Hits to give back, 1 to 100. Default 10. */
  top_k?: number | undefined;
  /** Default hybrid. */
  mode?: SearchMode | undefined;
  /** Whether the best 50 are scored again by the reranker. Default true. */
  rerank?: boolean | undefined;
}

/** Where one source put a chunk: its rank from 1, and its own score (dense: cosine, keyword: BM25). */
export interface SourceRank {
  rank: number;
  score: number;
}

/** Where the reranker put a chunk. Scores of two kinds must not be compared. */
export interface RerankRank {
  rank: number;
  /** In [0, 1]. */
  score: number;
  raw_score: number;
  kind: ScoreKind;
}

/** What each source said about a hit; a source that did not find it (or was not asked) is absent. */
export interface HitSources {
  dense?: SourceRank | undefined;
  keyword?: SourceRank | undefined;
  rerank?: RerankRank | undefined;
}

/** What `score` of the hits means: a cosine, a BM25 score, reciprocal rank fusion, or that fused with a reranking. */
export type HitScoreKind = 'cosine' | 'bm25' | 'rrf' | 'fused_late_interaction' | 'fused_cross_encoder';

/** One chunk that was found. */
export interface SearchHit {
  document_id: string;
  chunk_id: string;
  title: string;
  text: string;
  /** Higher is better; comparable only within one reply. */
  score: number;
  /** First page, counted from 1; absent when the format has no pages. */
  page?: number | undefined;
  /** Last page, when the chunk crosses a page border. */
  page_end?: number | undefined;
  /** Where page_end begins, on the scale of `offsets`. */
  page_end_offset?: number | undefined;
  /** UTF-16 code units of the document's extracted text. */
  offsets: { start: number; end: number };
  sources: HitSources;
}

/** A part of the search that failed while the rest went on. */
export interface Degradation {
  source: 'dense' | 'keyword' | 'rerank' | 'llm';
  reason: Reason;
  message: string;
}

/** Milliseconds spent in each stage; a stage that did not run is absent. Dense and keyword run at the same time. */
export interface SearchTimings {
  embed_ms?: number | undefined;
  dense_ms?: number | undefined;
  keyword_ms?: number | undefined;
  fuse_ms?: number | undefined;
  rerank_ms?: number | undefined;
  total_ms: number;
}

export interface SearchResponse {
  hits: SearchHit[];
  collection: string;
  mode: SearchMode;
  score_kind: HitScoreKind;
  /** Empty when every source that was asked answered. */
  degraded: Degradation[];
  timings: SearchTimings;
}

/** What was found, with what the reply on the wire leaves out. */
export interface SearchResult extends SearchResponse {
  /** Vector space of the collection; absent when nothing has been ingested yet. */
  space?: string | undefined;
}

/** What a search needs from the outside. */
export interface SearchDeps {
  embedder: Embedder;
  reranker: Reranker;
  vectors: VectorStore;
  metadata: Pick<MetadataStore, 'visibleRevisions'>;
  limits?: SearchLimits | undefined;
}

/** A slow part is given up before it costs the whole request. */
export interface SearchLimits {
  /** Milliseconds that one source may take, embedding of the query included. Default 10,000. */
  sourceTimeoutMs?: number | undefined;
  /** Milliseconds that the reranking may take. Default 10,000. */
  rerankTimeoutMs?: number | undefined;
}
