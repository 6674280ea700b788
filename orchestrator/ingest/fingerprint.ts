import { createHash } from 'node:crypto';
import type { JobItem } from '../ports.ts';

/** Raise it when readers or chunker make something else of the same bytes, so that documents are ingested anew. */
const READER_VERSION = 1;

/** Everything but the bytes that decides a document's chunks, vectors and record. */
export interface FingerprintSettings {
  chunkTokens: number;
  chunkOverlapTokens: number;
  space: string;
}

/** The same JSON whatever the order of an object's keys. */
function canonical(_key: string, value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** SHA-256 (hex) that changes when ingesting the document again would change anything. */
export function fingerprint(
  rawSha256: string,
  item: Pick<JobItem, 'title' | 'source' | 'mediaType' | 'metadata'>,
  settings: FingerprintSettings,
): string {
  const { title, source, mediaType, metadata } = item;
  const { chunkTokens, chunkOverlapTokens, space } = settings;
  const all = [
    READER_VERSION,
    rawSha256,
    title,
    source,
    mediaType,
    metadata,
    chunkTokens,
    chunkOverlapTokens,
    space,
  ];
  return createHash('sha256').update(JSON.stringify(all, canonical)).digest('hex');
}
