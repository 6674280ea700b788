import type { AnswerEvent, AnswerRequest, AnswerResponse } from '../answer/answer.ts';
import type { RagConfig } from '../config.ts';
import type { JobRunner } from '../ingest/jobs.ts';
import type { Staging } from '../ingest/staging.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { CallOptions, MetadataStore, VectorStore } from '../ports.ts';
import type { SearchRequest, SearchResult } from '../retrieve/search.ts';

/** Whether each part can do its work now, and if not, why. */
export interface Readiness {
  model_server: PartReadiness;
  vector_store: PartReadiness;
  metadata_store: PartReadiness;
}

export interface PartReadiness {
  ready: boolean;
  /** What it is when it is ready, or why it is not. */
  message: string;
}

type HttpConfig = Pick<
  RagConfig,
  | 'host'
  | 'maxDocuments'
  | 'maxJsonBytes'
  | 'maxRequestBytes'
  | 'maxUploadBytes'
  | 'maxUploadFiles'
  | 'requestTimeoutMs'
>;

/** All that the HTTP side needs; `main.ts` puts it together. */
export interface AppDeps {
  config: HttpConfig;
  version: string;
  log: Log;
  metrics: Metrics;
  jobs: Pick<JobRunner, 'submit' | 'get' | 'wait' | 'events' | 'deleteDocument'>;
  staging: Pick<Staging, 'write' | 'discard'>;
  metadata: Pick<MetadataStore, 'getDocument' | 'listDocuments'>;
  vectors: Pick<VectorStore, 'listCollections'>;
  search(request: SearchRequest, options: CallOptions): Promise<SearchResult>;
  answer(request: AnswerRequest, options: CallOptions): AsyncGenerator<AnswerEvent, void>;
  answerOnce(request: AnswerRequest, options: CallOptions): Promise<AnswerResponse>;
  readiness(): Promise<Readiness>;
  /** Aborted when the shutdown begins: no new requests, and nobody waits for jobs any more. */
  draining: AbortSignal;
  /** Aborted when running requests have had their time. */
  stopping: AbortSignal;
  /** Milliseconds between the comments that keep idle event streams open. Default 15,000. */
  heartbeatMs?: number;
}
