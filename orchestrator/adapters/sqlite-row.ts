import type { SQLInputValue, SQLOutputValue } from 'node:sqlite';
import type {
  DocumentRecord,
  DocumentStatus,
  JobItem,
  JobItemStatus,
  JobRecord,
  JobStatus,
} from '../ports.ts';

export type Row = Record<string, SQLOutputValue>;
export type Parameters = Record<string, SQLInputValue>;

export const documentColumns =
  'collection, id, title, source, media_type, bytes, fingerprint, revision, status, error_reason, error_message, ' +
  'pages, chunks, metadata, created_at, updated_at';

export const itemColumns =
  'job_id, item, document_id, title, source, media_type, bytes, metadata, staged_file, status, error_reason, ' +
  'error_message, chunks, embedded, pages, warnings';

export function documentToRow(document: DocumentRecord): Parameters {
  return {
    collection: document.collection,
    id: document.id,
    title: document.title,
    source: document.source,
    media_type: document.mediaType,
    bytes: document.bytes,
    fingerprint: document.fingerprint,
    revision: document.revision,
    status: document.status,
    ...errorToRow(document.error),
    pages: document.pages ?? null,
    chunks: document.chunks,
    metadata: JSON.stringify(document.metadata),
    created_at: document.createdAt,
    updated_at: document.updatedAt,
  };
}

export function documentFromRow(row: Row): DocumentRecord {
  return {
    collection: String(row.collection),
    id: String(row.id),
    title: String(row.title),
    source: String(row.source),
    mediaType: String(row.media_type),
    bytes: Number(row.bytes),
    fingerprint: String(row.fingerprint),
    revision: String(row.revision),
    status: row.status as DocumentStatus,
    ...errorFromRow(row),
    ...optionalNumber('pages', row),
    chunks: Number(row.chunks),
    metadata: JSON.parse(String(row.metadata)),
    createdAt: String(row.created_at),
    updatedAt: String(row.updated_at),
  };
}

export function itemToRow(jobId: string, item: JobItem): Parameters {
  return {
    job_id: jobId,
    item: item.index,
    document_id: item.documentId,
    title: item.title,
    source: item.source,
    media_type: item.mediaType,
    bytes: item.bytes,
    metadata: JSON.stringify(item.metadata),
    staged_file: item.stagedFile,
    status: item.status,
    ...errorToRow(item.error),
    chunks: item.chunks ?? null,
    embedded: item.embedded ?? null,
    pages: item.pages ?? null,
    warnings: item.warnings ? JSON.stringify(item.warnings) : null,
  };
}

export function itemFromRow(row: Row): JobItem {
  return {
    index: Number(row.item),
    documentId: String(row.document_id),
    title: String(row.title),
    source: String(row.source),
    mediaType: String(row.media_type),
    bytes: Number(row.bytes),
    metadata: JSON.parse(String(row.metadata)),
    stagedFile: String(row.staged_file),
    status: row.status as JobItemStatus,
    ...errorFromRow(row),
    ...optionalNumber('chunks', row),
    ...optionalNumber('embedded', row),
    ...optionalNumber('pages', row),
    ...(row.warnings === null ? {} : { warnings: JSON.parse(String(row.warnings)) }),
  };
}

export function jobFromRow(row: Row, items: readonly Row[]): JobRecord {
  return {
    id: String(row.id),
    collection: String(row.collection),
    status: row.status as JobStatus,
    items: items.map(itemFromRow),
    createdAt: String(row.created_at),
    updatedAt: String(row.updated_at),
  };
}

function errorToRow(error: DocumentRecord['error']): Parameters {
  return { error_reason: error?.reason ?? null, error_message: error?.message ?? null };
}

function errorFromRow(row: Row): Pick<DocumentRecord, 'error'> {
  if (row.error_reason === null) return {};
  return { error: { reason: String(row.error_reason), message: String(row.error_message) } };
}

function optionalNumber<Key extends string>(key: Key, row: Row): { [key in Key]?: number } {
  const value = row[key];
  return typeof value === 'number' ? ({ [key]: value } as { [key in Key]?: number }) : {};
}
