import type { CollectionInfo, StoredChunk, VectorStore } from '../../orchestrator/ports.ts';
import { grainyVector } from './stored-chunk.ts';

/** What a test works on: the store, and a fresh collection in it. */
export interface Subject {
  store: VectorStore;
  collection: string;
  info: CollectionInfo;
}

/** Every chunk of the collection, as its dense search gives it, without the score. */
export async function everything({ store, collection }: Subject): Promise<Map<string, StoredChunk>> {
  const found = await store.searchDense(collection, grainyVector(1), 1_000);
  const chunks = new Map(found.map(({ score: _, ...rest }) => [rest.chunkId, rest]));
  if (chunks.size < found.length)
    throw new Error(`A chunk is stored twice: ${found.map((one) => one.chunkId)}`);
  return chunks;
}
