import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ApiFailure } from '../client/api-failure.ts';
import type { Orchestrator } from '../client/orchestrator.ts';
import type { Found } from './collect.ts';
import type { WireDocument, WireJob, WireJobEvent } from './job-wire.ts';

/** Characters of a document's id at most. */
const MAX_ID = 512;

/** Reasons that pass when the orchestrator is back, and how long that may take: half a minute. */
const AWAY: readonly string[] = ['UNREACHABLE', 'STOPPING'];
const RECONNECTS = 60;
const RECONNECT_MS = 500;

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
  const { body, sent } = await form(batch, options);
  if (sent.length === 0) return;
  let job: WireJob;
  try {
    job = await send(api, body, options);
  } catch (error) {
    if (!(error instanceof ApiFailure) || error.reason !== 'TOO_LARGE') throw error;
    if (sent.length > 1) for (const file of sent) await ingestBatch(api, [file], options);
    else options.onOutcome(failed(sent[0]!, error.reason, error.message));
    return;
  }
  await follow(api, job, sent, options);
}

/** A full queue empties by itself: waits as long as the orchestrator says and tries again. */
async function send(api: Orchestrator, body: FormData, options: UploadOptions): Promise<WireJob> {
  for (;;) {
    try {
      return (await api.call('/v1/documents', { method: 'POST', body, signal: options.signal })) as WireJob;
    } catch (error) {
      if (!(error instanceof ApiFailure) || error.reason !== 'QUEUE_FULL') throw error;
      await pause(error.retryAfterMs ?? 1_000, undefined, { signal: options.signal });
    }
  }
}

/**
 * The upload of those files that can be read; each of the others fails alone. They are read before they are sent:
 * fetch ends the program, and can't be caught, when a file changes while it streams it.
 */
async function form(
  batch: readonly Found[],
  { collection, onOutcome }: UploadOptions,
): Promise<{ body: FormData; sent: Found[] }> {
  const contents: { file: Found; content: Blob }[] = [];
  for (const file of batch) {
    try {
      contents.push({ file, content: new Blob([await readFile(file.path)]) });
    } catch (error) {
      onOutcome(failed(file, 'UNREADABLE', `it can't be read: ${(error as Error).message}`));
    }
  }
  const sent = contents.map(({ file }) => file);
  const body = new FormData();
  if (collection !== undefined) body.set('collection', collection);
  // Without an id of our own the orchestrator makes one from the file's name.
  body.set('documents', JSON.stringify(sent.map(({ name }) => (name.length <= MAX_ID ? { id: name } : {}))));
  for (const { file, content } of contents) body.append('file', content, basename(file.path));
  return { body, sent };
}

/** Follows a job until all its files are settled. The job outlives a restart of the orchestrator, so this does too. */
async function follow(
  api: Orchestrator,
  job: WireJob,
  batch: readonly Found[],
  options: UploadOptions,
): Promise<void> {
  const open = new Map(batch.entries());
  for (let attempt = 1; open.size > 0; attempt++) {
    try {
      await listen(api, job, { batch, open, options, onEvent: () => (attempt = 0) });
      if (open.size > 0) throw new ApiFailure('UNREACHABLE', 'the connection ended too early');
    } catch (error) {
      if (!(error instanceof ApiFailure) || !AWAY.includes(error.reason)) throw error;
      const [file] = open.values();
      const names = [...open.values()].map(({ name }) => name).join(', ');
      if (attempt === RECONNECTS) {
        const message = `the connection was lost before these files were settled: ${names}. The orchestrator goes on with job ${job.job_id} when it runs again.`;
        throw new ApiFailure(error.reason, message, { cause: error });
      }
      options.onProgress(file!, 'waiting for the orchestrator to come back');
      await pause(RECONNECT_MS, undefined, { signal: options.signal });
    }
  }
}

interface Following {
  batch: readonly Found[];
  /** Files that are not settled yet, by their place in the batch. */
  open: Map<number, Found>;
  options: UploadOptions;
  onEvent: () => void;
}

/** Reads one event stream to its end; one that is opened again tells first what is settled already. */
async function listen(
  api: Orchestrator,
  job: WireJob,
  { batch, open, options, onEvent }: Following,
): Promise<void> {
  const { signal, onProgress, onOutcome } = options;
  const settle = (index: number, document: WireDocument) => {
    const file = open.get(index);
    if (file === undefined) return;
    open.delete(index);
    const { id: _id, status, ...rest } = document;
    onOutcome({ ...rest, file, status: status === 'ready' || status === 'unchanged' ? status : 'failed' });
  };
  for await (const { data } of api.events(`/v1/jobs/${encodeURIComponent(job.job_id)}/events`, { signal })) {
    const event = data as WireJobEvent;
    onEvent();
    if (event.type === 'item_started') onProgress(batch[event.index]!, 'started');
    else if (event.type === 'item_progress')
      onProgress(batch[event.index]!, `${event.stage} ${event.done}/${event.total}`);
    else if (event.type === 'item_settled') settle(event.index, event.document);
    else if (event.type === 'error') throw new ApiFailure(event.reason, event.message);
    else for (const [index, document] of event.job.documents.entries()) settle(index, document);
  }
}

/** A file that never became part of a job. */
export function failed(file: Found, reason: string, message: string): Outcome {
  return { file, status: 'failed', error: { reason, message: message.replace(`${reason}: `, '') } };
}
