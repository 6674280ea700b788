import type { DocumentRecord, JobItem } from '../ports.ts';
import type { ReadDocument } from './document.ts';

/** A document that is not searchable yet. */
export function pendingRecord(collection: string, item: JobItem, before?: DocumentRecord): DocumentRecord {
  const now = new Date().toISOString();
  return {
    collection,
    id: item.documentId,
    title: item.title,
    source: item.source,
    mediaType: item.mediaType,
    bytes: item.bytes,
    fingerprint: '',
    revision: '',
    status: 'pending',
    chunks: 0,
    metadata: item.metadata,
    createdAt: before?.createdAt ?? now,
    updatedAt: now,
  };
}

/** What an ingest found out about a document. */
export interface Ingested {
  document: Pick<ReadDocument, 'mediaType' | 'pages' | 'warnings'>;
  title: string;
  fingerprint: string;
  revision: string;
  chunks: number;
  /** Chunks that had to be embedded. */
  embedded: number;
  /** Chunks of which the model left the end out. */
  truncated: number;
}

/** A document that is searchable from the moment when its record is stored. */
export function readyRecord(before: DocumentRecord, item: JobItem, ingested: Ingested): DocumentRecord {
  const { document, title, fingerprint, revision, chunks } = ingested;
  return {
    collection: before.collection,
    id: item.documentId,
    title,
    source: item.source,
    mediaType: document.mediaType,
    bytes: item.bytes,
    fingerprint,
    revision,
    status: 'ready',
    pages: document.pages?.length,
    chunks,
    metadata: item.metadata,
    createdAt: before.createdAt,
    updatedAt: new Date().toISOString(),
  };
}

/** A document whose last ingest failed: if it was searchable, it stays so. */
export function failedRecord(
  before: DocumentRecord,
  error: NonNullable<DocumentRecord['error']>,
): DocumentRecord {
  const status = before.revision === '' ? 'failed' : before.status;
  return { ...before, status, error, updatedAt: new Date().toISOString() };
}

/** The item of an ingest that succeeded. */
export function readyItem(item: JobItem, ingested: Ingested): JobItem {
  const { document, title, chunks, embedded, truncated } = ingested;
  const cut = `${truncated} of ${chunks} chunks were longer than the model reads; their ends are not in their vectors.`;
  const warnings = truncated === 0 ? document.warnings : [...document.warnings, cut];
  return { ...item, title, status: 'ready', chunks, embedded, pages: document.pages?.length, warnings };
}
