import type { DocumentRecord, JobItem, JobRecord } from '../../orchestrator/ports.ts';

export function document(fields: Partial<DocumentRecord> = {}): DocumentRecord {
  return {
    collection: 'c',
    id: 'doc',
    title: 'Title',
    source: 'a.pdf',
    mediaType: 'application/pdf',
    bytes: 12,
    fingerprint: 'f',
    revision: 'r1',
    status: 'ready',
    chunks: 3,
    metadata: {},
    createdAt: '2026-01-01T00:00:00.000Z',
    updatedAt: '2026-01-01T00:00:00.000Z',
    ...fields,
  };
}

export function item(fields: Partial<JobItem> = {}): JobItem {
  return {
    index: 0,
    documentId: 'doc',
    title: '',
    source: 'a.pdf',
    mediaType: 'application/pdf',
    bytes: 12,
    metadata: {},
    stagedFile: 'staged-1',
    status: 'queued',
    ...fields,
  };
}

export function job(fields: Partial<JobRecord> = {}): JobRecord {
  return {
    id: 'job',
    collection: 'c',
    status: 'queued',
    items: [item()],
    createdAt: '2026-01-01T00:00:00.000Z',
    updatedAt: '2026-01-01T00:00:00.000Z',
    ...fields,
  };
}
