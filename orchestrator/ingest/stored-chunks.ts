import type { StoredChunk } from '../ports.ts';
import type { Chunk } from './chunker.ts';
import { contentHash } from './embedded-text.ts';

/** A document's chunks as rows of one of its revisions. */
export function storedChunks(
  { documentId, revision, title }: Pick<StoredChunk, 'documentId' | 'revision' | 'title'>,
  chunks: readonly Chunk[],
): StoredChunk[] {
  return chunks.map((chunk, ordinal) => ({
    ...chunk,
    chunkId: `${documentId}:${revision}:${ordinal}`,
    documentId,
    revision,
    ordinal,
    title,
    contentHash: contentHash(title, chunk.text),
  }));
}
