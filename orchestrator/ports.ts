/**
 * What ingest, retrieve and answer need from the outside, as types only. Adapters implement these; `main.ts` chooses.
 * Every implementation of a store passes the contract suite of its port in `test/orchestrator`.
 */

/** Options every call to the outside takes: one signal carries the caller's cancel, the deadline and the shutdown. */
export interface CallOptions {
  signal?: AbortSignal | undefined;
  /** `bulk`: nobody waits for the answer, so whatever somebody waits for goes first. `interactive` when absent. */
  priority?: 'interactive' | 'bulk' | undefined;
}

/** What vectors a model makes. Two vectors may be compared only if their `space` is the same. */
export interface EmbeddingModel {
  /** Name of the model on the server. */
  model: string;
  version: number;
  /** Hash of all that decides the vectors. */
  space: string;
  dimension: number;
  /** Tokens that one text may use, special tokens included. */
  maxTokens: number;
  /** How many of those a single text spends on special tokens. */
  specialTokens: number;
}

export interface EmbedResult extends EmbeddingModel {
  /** One unit-length vector of `dimension` floats for each text, in order. */
  vectors: Float32Array[];
  /** For each text, whether its end was dropped because it was longer than `maxTokens`. */
  truncated: boolean[];
}

/** With a `space`, whichever model or version the server has of it answers, and no other: how collections are kept pure. */
export interface SpaceOptions extends CallOptions {
  /** Without one, the version answers that the server prefers now. */
  space?: string | undefined;
}

export interface DescribeOptions extends SpaceOptions {
  /** Where no space is asked for and several models could answer, the one that has all of these is meant. */
  spacesInUse?: readonly string[] | undefined;
}

/** All methods throw RagError SPACE_MISMATCH, which names what there is, when nothing of the asked space is served. */
export interface Embedder {
  /**
   * Which model answers in the space, as the server told it once; without a space the server is asked afresh.
   * @throws RagError MODEL_SERVER_REFUSED, which names the models, when several could answer and nothing tells which
   */
  describe(options?: DescribeOptions): Promise<EmbeddingModel>;
  /** Embeds any number of texts (splits into calls as it needs), all in one space. */
  embed(texts: readonly string[], options?: SpaceOptions): Promise<EmbedResult>;
  /** Tokens of each text as the embedding model counts them, special tokens not included. */
  countTokens(texts: readonly string[], options?: SpaceOptions): Promise<number[]>;
}

export type ScoreKind = 'late_interaction' | 'cross_encoder';

export interface RerankScore {
  /** In [0, 1]. */
  score: number;
  rawScore: number;
}

export interface RerankResult {
  kind: ScoreKind;
  model: string;
  /** One for each passage, in the order given. */
  scores: RerankScore[];
}

export interface RerankOptions extends CallOptions {
  /** Space of the collection that the passages come from: its model scores them where no other is there for that. */
  space?: string | undefined;
}

export interface Reranker {
  /** @throws RagError MODEL_SERVER_REFUSED, which names the models, when several could rerank and nothing tells which */
  rerank(query: string, passages: readonly string[], options?: RerankOptions): Promise<RerankResult>;
}

/** Where a chunk lies in its document. Offsets count UTF-16 code units of the extracted text: text.slice(start, end). */
export interface ChunkSpan {
  start: number;
  end: number;
  /** First page, counted from 1; absent when the format has no pages. */
  page?: number | undefined;
  /** Last page, when the chunk crosses a page border. */
  pageEnd?: number | undefined;
  /** Where `pageEnd` begins, so that a quote from the chunk can be given its own page. */
  pageEndOffset?: number | undefined;
}

/** One row of the vector store. */
export interface StoredChunk extends ChunkSpan {
  /** `${documentId}:${revision}:${ordinal}` */
  chunkId: string;
  documentId: string;
  /** A document is re-ingested under a new revision; the old one is removed after the new one is visible. */
  revision: string;
  /** Place in the document, from 0. */
  ordinal: number;
  /** Exactly the document's text between start and end. */
  text: string;
  /** Title of the document, or ''. It is embedded and searched with the text, but is not part of it. */
  title: string;
  /** SHA-256 (hex) of what was embedded, to find unchanged chunks again. */
  contentHash: string;
}

export interface ChunkWithVector extends StoredChunk {
  vector: Float32Array;
}

export interface ScoredChunk extends StoredChunk {
  /** Dense: cosine. Full text: BM25. Higher is better. */
  score: number;
}

/** What a collection's vectors are; kept by the store beside them. */
export interface CollectionInfo {
  name: string;
  dimension: number;
  space: string;
}

/** Vectors and full text of chunks, in named collections. All methods are safe to call concurrently. */
export interface VectorStore {
  /** What this is and where, for logs and doctor; no secrets. */
  readonly description: string;
  /**
   * Makes the collection if it does not exist.
   * @throws RagError SPACE_MISMATCH when it exists with another space or dimension.
   */
  ensureCollection(info: CollectionInfo): Promise<void>;
  /** Undefined when there is no such collection. */
  getCollection(name: string): Promise<CollectionInfo | undefined>;
  listCollections(): Promise<CollectionInfo[]>;
  dropCollection(name: string): Promise<void>;
  /** Inserts or replaces by chunkId. Durable and searchable when it resolves. */
  upsert(collection: string, chunks: readonly ChunkWithVector[]): Promise<void>;
  /** Removes every chunk of a document, or only those of one revision, or all but one revision. */
  deleteDocument(
    collection: string,
    documentId: string,
    only?: { revision: string } | { exceptRevision: string },
  ): Promise<void>;
  /** Vectors of a document's revision by contentHash, so that unchanged chunks are not embedded again. */
  vectorsByHash(collection: string, documentId: string, revision: string): Promise<Map<string, Float32Array>>;
  /** Every (documentId, revision) that has chunks, for reconciling after a crash. */
  listRevisions(collection: string): Promise<{ documentId: string; revision: string; chunks: number }[]>;
  /** The `limit` nearest by cosine, best first. A collection that does not exist gives []. */
  searchDense(collection: string, vector: Float32Array, limit: number): Promise<ScoredChunk[]>;
  /** The `limit` best by BM25 over title and text (stemmed, English stop words out), best first. Any string is a valid query. */
  searchText(collection: string, query: string, limit: number): Promise<ScoredChunk[]>;
  /** Lets the store compact and refresh its indexes; called when ingestion goes idle. */
  optimize(collection: string): Promise<void>;
  close(): Promise<void>;
}

export type DocumentStatus = 'pending' | 'ready' | 'failed' | 'deleting';

export interface DocumentRecord {
  collection: string;
  id: string;
  title: string;
  /** File name or URI as the caller gave it; '' for bare text. */
  source: string;
  mediaType: string;
  bytes: number;
  /** SHA-256 (hex) of the raw bytes and of all that decides the chunks (title, metadata, chunker, space). */
  fingerprint: string;
  /** The revision that searches see; '' until the first one is complete. */
  revision: string;
  status: DocumentStatus;
  /** Why the last attempt failed. A document that was ready before stays visible in its old revision. */
  error?: { reason: string; message: string } | undefined;
  pages?: number | undefined;
  chunks: number;
  metadata: Record<string, unknown>;
  createdAt: string;
  updatedAt: string;
}

export type JobStatus = 'queued' | 'running' | 'succeeded' | 'failed' | 'partial';
export type JobItemStatus = 'queued' | 'running' | 'ready' | 'unchanged' | 'failed';

/** One document of a job. `input` is what the pipeline needs to start again after a crash. */
export interface JobItem {
  index: number;
  documentId: string;
  title: string;
  source: string;
  mediaType: string;
  bytes: number;
  metadata: Record<string, unknown>;
  /** File in the data folder's staging area that holds the raw bytes; removed when the item is settled. */
  stagedFile: string;
  status: JobItemStatus;
  error?: { reason: string; message: string } | undefined;
  /** Filled as it goes: chunks in the document, how many of them had to be embedded, pages, warnings for the reader. */
  chunks?: number | undefined;
  embedded?: number | undefined;
  pages?: number | undefined;
  warnings?: string[] | undefined;
}

export interface JobRecord {
  id: string;
  collection: string;
  status: JobStatus;
  items: JobItem[];
  createdAt: string;
  updatedAt: string;
}

/** Documents, jobs and collections' settings. Every method is atomic and durable when it returns. */
export interface MetadataStore {
  /** Inserts or replaces by (collection, id). */
  putDocument(document: DocumentRecord): void;
  getDocument(collection: string, id: string): DocumentRecord | undefined;
  /** Visible revision of each of these documents that has one and is not being deleted. One query. */
  visibleRevisions(collection: string, ids: readonly string[]): Map<string, string>;
  /** Newest first. */
  listDocuments(
    collection: string | undefined,
    page: { limit: number; offset: number },
  ): { documents: DocumentRecord[]; total: number };
  /** All (id, revision, status) of a collection, for reconciling after a crash. */
  allRevisions(collection: string): { id: string; revision: string; status: DocumentStatus }[];
  removeDocument(collection: string, id: string): void;
  /**
   * Makes a revision visible and settles the job item in one transaction: the moment a document changes for readers.
   */
  publish(document: DocumentRecord, item?: { jobId: string; item: JobItem }): void;
  putJob(job: JobRecord): void;
  /** Undefined when there is none; a store may remove settled jobs that many newer ones have followed. */
  getJob(id: string): JobRecord | undefined;
  /** Replaces one item and, when given, the job's status. */
  updateJobItem(jobId: string, item: JobItem, status?: JobStatus): void;
  /** Jobs that are queued or running, oldest first: what a restart goes on with. */
  unfinishedJobs(): JobRecord[];
  /** How many those are, without reading them. */
  countUnfinishedJobs(): number;
  close(): void;
}

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

export interface LlmUsage {
  /** The answer was cut because it reached `maxTokens`. */
  truncated?: boolean | undefined;
  promptTokens?: number | undefined;
  completionTokens?: number | undefined;
}

/** A chat model that streams. */
export interface Llm {
  readonly model: string;
  /**
   * Yields pieces of the answer as they come; returns the usage when the server told it.
   * @throws RagError LLM_UNAVAILABLE, LLM_REFUSED, CANCELLED, DEADLINE_EXCEEDED
   */
  stream(
    messages: readonly ChatMessage[],
    options: CallOptions & { maxTokens: number; temperature?: number },
  ): AsyncGenerator<string, LlmUsage | undefined>;
}
