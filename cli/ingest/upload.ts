import { openAsBlob } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ApiFailure } from '../client/api-failure.ts';
import type { Orchestrator } from '../client/orchestrator.ts';
import type { Found } from './collect.ts';
import type { WireDocument, WireJob, WireJobEvent } from './job-wire.ts';

/** Characters of a document's id at most. */
const MAX_ID = 512;

/** How one file ended. */
export interface Outcome extends Omit<WireDocument, 'id' | 'status'> {
  file: Found;
  status: 'ready' | 'unchanged' | 'failed';
}

export interface UploadOptions {
  collection?: string | undefined;
  signal?: AbortSignal | undefined;
  onProgress: (file: Found, doing: string) => void;
  onOutcome: (outcome: Outcome) => void;
}

export interface BatchLimits {
  files: number;
  bytes: number;
}

/** Groups files, in their order, so that no group passes a limit; a file above the limit stands alone. */
export function batchesOf(files: readonly Found[], limits: BatchLimits): Found[][] {
  const batches: Found[][] = [];
  let bytes = 0;
  for (const file of files) {
    const last = batches.at(-1);
    if (last === undefined || last.length === limits.files || bytes + file.bytes > limits.bytes) {
      batches.push([file]);
      bytes = file.bytes;
    } else {
      last.push(file);
      bytes += file.bytes;
    }
  }
  return batches;
}

/**
 * Uploads a batch and follows its job until every file is settled. A batch that is too large for the orchestrator is
 * sent file by file, so that one large file does not take the others along.
 * @throws ApiFailure when the orchestrator can't be reached, stops, or refuses for another reason
 */
export async function ingestBatch(
  api: Orchestrator,
  batch: readonly Found[],
  options: UploadOptions,
): Promise<void> {
  let job: WireJob;
  try {
    job = await send(api, batch, options);
  } catch (error) {
    if (!(error instanceof ApiFailure) || error.reason !== 'TOO_LARGE') throw error;
    if (batch.length > 1) for (const file of batch) await ingestBatch(api, [file], options);
    else options.onOutcome(failed(batch[0]!, error.reason, error.message));
    return;
  }
  await follow(api, job, batch, options);
}

/** A full queue empties by itself: waits as long as the orchestrator says and tries again. */
async function send(api: Orchestrator, batch: readonly Found[], options: UploadOptions): Promise<WireJob> {
  for (;;) {
    try {
      const body = await form(batch, options.collection);
      return (await api.call('/v1/documents', { method: 'POST', body, signal: options.signal })) as WireJob;
    } catch (error) {
      if (!(error instanceof ApiFailure) || error.reason !== 'QUEUE_FULL') throw error;
      await pause(error.retryAfterMs ?? 1_000, undefined, { signal: options.signal });
    }
  }
}

/** Files are read from disk while they are sent. */
async function form(batch: readonly Found[], collection: string | undefined): Promise<FormData> {
  const body = new FormData();
  if (collection !== undefined) body.set('collection', collection);
  // Without an id of our own the orchestrator makes one from the file's name.
  body.set('documents', JSON.stringify(batch.map(({ name }) => (name.length <= MAX_ID ? { id: name } : {}))));
  for (const { path } of batch) body.append('file', await openAsBlob(path), basename(path));
  return body;
}

async function follow(
  api: Orchestrator,
  job: WireJob,
  batch: readonly Found[],
  { signal, onProgress, onOutcome }: UploadOptions,
): Promise<void> {
  const open = new Map(batch.entries());
  const settle = (index: number, document: WireDocument) => {
    const file = open.get(index);
    if (file === undefined) return;
    open.delete(index);
    const { id: _id, status, ...rest } = document;
    onOutcome({ ...rest, file, status: status === 'ready' || status === 'unchanged' ? status : 'failed' });
  };
  for await (const { data } of api.events(`/v1/jobs/${encodeURIComponent(job.job_id)}/events`, { signal })) {
    const event = data as WireJobEvent;
    if (event.type === 'item_started') onProgress(batch[event.index]!, 'started');
    else if (event.type === 'item_progress')
      onProgress(batch[event.index]!, `${event.stage} ${event.done}/${event.total}`);
    else if (event.type === 'item_settled') settle(event.index, event.document);
    else if (event.type === 'error') throw new ApiFailure(event.reason, event.message);
    else for (const [index, document] of event.job.documents.entries()) settle(index, document);
  }
  if (open.size === 0) return;
  const names = [...open.values()].map(({ name }) => name).join(', ');
  const message = `the connection ended before these files were settled: ${names}. The orchestrator goes on with job ${job.job_id}.`;
  throw new ApiFailure('UNEXPECTED_ANSWER', message);
}

/** A file that never became part of a job. */
export function failed(file: Found, reason: string, message: string): Outcome {
  return { file, status: 'failed', error: { reason, message: message.replace(`${reason}: `, '') } };
}
