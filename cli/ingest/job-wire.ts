/** What the orchestrator sends about a job, as far as the command line shows it. */
export interface WireDocument {
  id: string;
  status: 'queued' | 'running' | 'ready' | 'unchanged' | 'failed';
  error?: { reason: string; message: string };
  chunks?: number;
  embedded?: number;
  pages?: number;
  warnings?: string[];
}

export interface WireJob {
  job_id: string;
  documents: WireDocument[];
}

export type WireJobEvent =
  | { type: 'item_started'; index: number }
  | { type: 'item_progress'; index: number; stage: string; done: number; total: number }
  | { type: 'item_settled'; index: number; document: WireDocument }
  | { type: 'job_settled'; job: WireJob }
  | { type: 'error'; reason: string; message: string; retryable: boolean };
