import { createHash } from 'node:crypto';
import type { Schemas } from '@qdrant/js-client-rest';
import type { ChunkWithVector, StoredChunk } from '../ports.ts';
import { sparseDocument } from './sparse-text.ts';

type Point = Schemas['PointStruct'];
type Payload = Schemas['ScoredPoint']['payload'];

/** Names of the two vectors of a point. */
export const denseName = 'dense';
export const sparseName = 'bm25';

/** A chunk as Qdrant keeps it: all of the chunk as payload, its vector, and its words as a sparse vector. */
export function toPoint(chunk: ChunkWithVector): Point {
  const { vector, ...stored } = chunk;
  const sparse = sparseDocument(chunk.title, chunk.text);
  return {
    id: pointId(chunk.chunkId),
    vector: {
      [denseName]: Array.from(vector),
      ...(sparse.indices.length > 0 && { [sparseName]: sparse }),
    },
    // Qdrant's JSON refuses halves of surrogate pairs.
    payload: Object.fromEntries(
      Object.entries(stored).map(([key, value]) => [
        key,
        typeof value === 'string' ? value.toWellFormed() : value,
      ]),
    ),
  };
}

export function fromPayload(payload: Payload): StoredChunk {
  const { page, pageEnd, pageEndOffset } = payload ?? {};
  return {
    chunkId: String(payload?.chunkId),
    documentId: String(payload?.documentId),
    revision: String(payload?.revision),
    ordinal: Number(payload?.ordinal),
    start: Number(payload?.start),
    end: Number(payload?.end),
    ...(typeof page === 'number' && { page }),
    ...(typeof pageEnd === 'number' && { pageEnd }),
    ...(typeof pageEndOffset === 'number' && { pageEndOffset }),
    title: String(payload?.title),
    text: String(payload?.text),
    contentHash: String(payload?.contentHash),
  };
}

/** Qdrant takes only numbers and UUIDs as ids: a UUID (version 5) of the chunk's own id. */
function pointId(chunkId: string): string {
  const bytes = createHash('sha1').update(`nereid:chunk:${chunkId}`).digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x50;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
