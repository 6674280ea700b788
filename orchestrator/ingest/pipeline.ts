import type { Embedder, MetadataStore, VectorStore } from '../ports.ts';
import type { Staging } from './staging.ts';

/** What ingesting needs from the outside. */
export interface PipelineDeps {
  embedder: Embedder;
  vectors: VectorStore;
  metadata: MetadataStore;
  staging: Staging;
}

/** Limits and sizes of ingesting. */
export interface PipelineOptions {
  /** Tokens in a chunk at most. */
  chunkTokens: number;
  /** Tokens that neighbouring chunks share at most. */
  chunkOverlapTokens: number;
  /** Milliseconds that reading one file may take. */
  readTimeoutMs: number;
  /** MB of memory that reading one file may take. */
  readMemoryMb: number;
}

/** Turns one staged document into searchable chunks. */
export class IngestPipeline {
  readonly deps: PipelineDeps;
  readonly options: PipelineOptions;

  constructor(deps: PipelineDeps, options: PipelineOptions) {
    this.deps = deps;
    this.options = options;
  }
}
