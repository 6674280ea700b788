import type { JobItem, JobRecord } from '../ports.ts';

/** What an item is busy with. `read` counts bytes, `chunk` characters, `embed` and `store` chunks. */
export type IngestStage = 'read' | 'chunk' | 'embed' | 'store';

/** How far one stage of one document is. */
export interface IngestProgress {
  stage: IngestStage;
  done: number;
  total: number;
}

/** What happens to a job, in order; the last event of every job is `job_settled`. */
export type JobEvent =
  | { type: 'item_started'; jobId: string; index: number; documentId: string; source: string }
  | ({ type: 'item_progress'; jobId: string; index: number; documentId: string } & IngestProgress)
  | { type: 'item_settled'; jobId: string; item: JobItem }
  | { type: 'job_settled'; jobId: string; job: JobRecord };
