import { z } from 'zod';
import type { JobEvent } from '../ingest/job-event.ts';
import type { JobItem, JobRecord } from '../ports.ts';
import { failure, timestamp } from './fields.ts';
import { errorEvent } from './sse.ts';

export const jobItem = z
  .strictObject({
    id: z.string().meta({ description: 'id of the document' }),
    title: z.string(),
    source: z.string().meta({ description: 'file name or URI; empty for bare text' }),
    media_type: z.string(),
    bytes: z.int(),
    status: z.enum(['queued', 'running', 'ready', 'unchanged', 'failed']),
    error: failure.optional(),
    chunks: z.int().optional(),
    embedded: z
      .int()
      .optional()
      .meta({ description: 'chunks that had to be embedded; the others were known' }),
    pages: z.int().optional(),
    warnings: z.array(z.string()).optional(),
  })
  .meta({ id: 'JobDocument' });

export const job = z
  .strictObject({
    job_id: z.string(),
    collection: z.string(),
    status: z
      .enum(['queued', 'running', 'succeeded', 'partial', 'failed'])
      .meta({ description: 'partial: some documents failed; failed: all did' }),
    documents: z.array(jobItem),
    created_at: timestamp,
    updated_at: timestamp,
  })
  .meta({ id: 'Job' });

const place = { job_id: z.string(), index: z.int().meta({ description: 'place in `documents`' }) };

export const jobEvent = z
  .discriminatedUnion('type', [
    z.strictObject({ type: z.literal('item_started'), ...place, id: z.string(), source: z.string() }),
    z.strictObject({
      type: z.literal('item_progress'),
      ...place,
      id: z.string(),
      stage: z.enum(['read', 'chunk', 'embed', 'store']),
      done: z.number(),
      total: z.number(),
    }),
    z.strictObject({ type: z.literal('item_settled'), ...place, document: jobItem }),
    z.strictObject({ type: z.literal('job_settled'), job_id: z.string(), job }),
    errorEvent,
  ])
  .meta({
    id: 'JobEvent',
    description: 'the `event` field of each event is its `type`; job_settled or error is the last',
  });

/** A job as it stands on the wire. */
export function toJob(record: JobRecord): z.input<typeof job> {
  return {
    job_id: record.id,
    collection: record.collection,
    status: record.status,
    documents: record.items.map(toJobItem),
    created_at: record.createdAt,
    updated_at: record.updatedAt,
  };
}

/** A job's event as it stands on the wire. */
export function toJobEvent(event: JobEvent): z.input<typeof jobEvent> {
  switch (event.type) {
    case 'item_started': {
      const { type, jobId, index, documentId, source } = event;
      return { type, job_id: jobId, index, id: documentId, source };
    }
    case 'item_progress': {
      const { type, jobId, index, documentId, stage, done, total } = event;
      return { type, job_id: jobId, index, id: documentId, stage, done, total };
    }
    case 'item_settled': {
      const { type, jobId, item } = event;
      return { type, job_id: jobId, index: item.index, document: toJobItem(item) };
    }
    case 'job_settled':
      return { type: event.type, job_id: event.jobId, job: toJob(event.job) };
  }
}

function toJobItem(item: JobItem): z.input<typeof jobItem> {
  const { title, source, bytes, status, error, chunks, embedded, pages, warnings } = item;
  return {
    id: item.documentId,
    title,
    source,
    media_type: item.mediaType,
    bytes,
    status,
    error,
    chunks,
    embedded,
    pages,
    warnings,
  };
}
