import { RagError } from '../errors.ts';
import type { JobItem, JobRecord, JobStatus } from '../ports.ts';
import type { JobFeed } from './job-feed.ts';
import type { IngestTask } from './pipeline.ts';

/** A job with unsettled items. */
export interface OpenJob {
  record: JobRecord;
  unsettled: number;
  feed: JobFeed;
}

/** One unsettled item of an open job. */
export interface Task {
  job: OpenJob;
  index: number;
  /** Its document, by `documentKey`. */
  key: string;
  abort: AbortController;
}

/** Whether nothing will happen to an item any more. */
export function isSettled({ status }: JobItem): boolean {
  return status !== 'queued' && status !== 'running';
}

/** Status of a job whose items are all settled. */
export function settledStatus(items: readonly JobItem[]): JobStatus {
  const failed = items.filter(({ status }) => status === 'failed').length;
  if (failed === 0) return 'succeeded';
  return failed === items.length ? 'failed' : 'partial';
}

/** A task's item as it stands. */
export function itemOf({ job, index }: Task): JobItem {
  return job.record.items[index]!;
}

/** What the pipeline needs to know of an item. */
export function taskOf({ collection, id: jobId }: JobRecord, item: JobItem): IngestTask {
  return { collection, jobId, item };
}

/** What callers are told when the queue is closed. */
export function stopping(): RagError {
  return new RagError('STOPPING', 'The program is stopping; ingest goes on at its next start.');
}
