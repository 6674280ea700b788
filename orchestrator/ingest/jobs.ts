import type { JobRecord } from '../ports.ts';
import type { JobEvent } from './job-event.ts';
import type { IngestPipeline } from './pipeline.ts';
import type { StagedInput } from './staged-input.ts';

/** Log lines of ingesting; a pino logger fits. */
export interface IngestLog {
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
}

export interface JobRunnerOptions {
  /** Jobs that may be unfinished at one time at most; more are refused with QUEUE_FULL. */
  maxQueuedJobs: number;
  /** Documents that are worked on at one time. Default 2. */
  concurrency?: number | undefined;
  log?: IngestLog | undefined;
}

/**
 * The durable queue of ingest jobs. `recover()` once, then `start()`; `close()` leaves what is not finished for the
 * next start.
 */
export class JobRunner {
  constructor(_pipeline: IngestPipeline, _options: JobRunnerOptions) {}

  /**
   * Queues the documents as one job, durable when it returns. On a throw the caller still owns the staged files.
   * @throws RagError QUEUE_FULL, STOPPING, INVALID_INPUT (no inputs, or a bad document id)
   */
  submit(_collection: string, _inputs: readonly StagedInput[]): JobRecord {
    throw new Error('not built yet');
  }

  /** Undefined when there is no such job. */
  get(_id: string): JobRecord | undefined {
    throw new Error('not built yet');
  }

  /**
   * Resolves with the job when it is settled (succeeded, failed or partial).
   * @throws RagError NOT_FOUND, CANCELLED or DEADLINE_EXCEEDED (the signal; the job goes on), STOPPING
   */
  wait(_id: string, _options: { signal?: AbortSignal | undefined } = {}): Promise<JobRecord> {
    throw new Error('not built yet');
  }

  /**
   * What happens to a job: first what is settled already, then live, until `job_settled`. A slow reader misses
   * intermediate progress, never a settled item. Ends quietly when the signal aborts.
   * @throws RagError NOT_FOUND (at once), STOPPING (while iterating)
   */
  events(_id: string, _options: { signal?: AbortSignal | undefined } = {}): AsyncIterable<JobEvent> {
    throw new Error('not built yet');
  }

  /**
   * Removes a document: invisible when the call returns its promise, gone when that resolves. Ingests of it that
   * wait or run are cancelled. False when there is no such document.
   * @throws RagError STORE_UNAVAILABLE: it is invisible, and the rest is removed at the next start
   */
  deleteDocument(_collection: string, _id: string): Promise<boolean> {
    throw new Error('not built yet');
  }

  /**
   * Makes the stores agree after a crash: queues unfinished jobs again, removes revisions that no document shows,
   * finishes deletions, removes staged files that nothing needs. Call it before anything is staged.
   */
  recover(): Promise<void> {
    throw new Error('not built yet');
  }

  /** Begins to work on the queue. */
  start(): void {}

  /** Stops at the next batch border; unfinished items stay queued for the next start. Idempotent. */
  close(): Promise<void> {
    throw new Error('not built yet');
  }
}
