import { z } from 'zod';
import type { DocumentRecord } from '../ports.ts';
import { collectionName, documentId, failure, metadata, timestamp } from './fields.ts';

/** What a caller may say about a document besides its content. */
const described = {
  id: documentId
    .optional()
    .meta({ description: 'kept as it is; without one, an id is made from the content or name' }),
  title: z.string().max(1_000).optional(),
  metadata: metadata.optional(),
};

export const ingestRequest = z
  .strictObject({
    documents: z
      .array(z.strictObject({ ...described, text: z.string() }))
      .min(1, 'must hold at least one document'),
    collection: collectionName,
  })
  .meta({ id: 'IngestRequest' });

/** The text fields of an upload; the n-th entry of `documents` is about the n-th file. */
export const uploadFields = z
  .strictObject({
    collection: collectionName,
    documents: z
      .string()
      .default('[]')
      .transform(parseJson)
      .pipe(z.array(z.strictObject(described)))
      .meta({ description: 'JSON array of {id?, title?, metadata?}: the n-th is about the n-th file' }),
  })
  .meta({ id: 'UploadFields' });

/** How the API document shows an upload: the fields, and the files. */
export const uploadForm = z
  .object({
    file: z
      .array(z.file())
      .meta({ description: 'one part with a file name for each document; any field name will do' }),
    collection: collectionName,
    documents: z
      .string()
      .optional()
      .meta({ description: 'JSON array of {id?, title?, metadata?}: the n-th is about the n-th file' }),
  })
  .meta({ id: 'UploadForm' });

export const document = z
  .strictObject({
    id: z.string(),
    collection: z.string(),
    title: z.string(),
    source: z.string().meta({ description: 'file name or URI; empty for bare text' }),
    media_type: z.string(),
    bytes: z.int(),
    status: z.enum(['pending', 'ready', 'failed', 'deleting']),
    error: failure.optional(),
    pages: z.int().optional(),
    chunks: z.int(),
    metadata: z.record(z.string(), z.unknown()),
    created_at: timestamp,
    updated_at: timestamp,
  })
  .meta({ id: 'Document' });

export const documentList = z
  .strictObject({ documents: z.array(document), total: z.int(), limit: z.int(), offset: z.int() })
  .meta({ id: 'DocumentList' });

/** A document as it stands on the wire. */
export function toDocument(record: DocumentRecord): z.input<typeof document> {
  const { id, collection, title, source, bytes, status, error, pages, chunks, metadata } = record;
  return {
    id,
    collection,
    title,
    source,
    media_type: record.mediaType,
    bytes,
    status,
    error,
    pages,
    chunks,
    metadata,
    created_at: record.createdAt,
    updated_at: record.updatedAt,
  };
}

function parseJson(text: string, context: z.RefinementCtx<string>): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    context.addIssue(`is not valid JSON: ${(error as Error).message}`);
    return z.NEVER;
  }
}
