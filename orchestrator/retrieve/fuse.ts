import type { ScoredChunk, StoredChunk } from '../ports.ts';
import type { SourceRank } from './hit.ts';

/** A chunk with what each source that found it said. */
export interface FusedChunk<Source extends string> {
  chunk: StoredChunk;
  score: number;
  sources: Partial<Record<Source, SourceRank>>;
}

/**
 * Damps the lead of the first ranks: 60 is the value of Cormack, Clarke and Büttcher (SIGIR 2009), who found fusion
 * to depend little on it.
 */
const rankConstant = 60;

/**
 * Reciprocal rank fusion of any number of named result lists, best first: each list gives a chunk 1 / (60 + rank).
 * It needs no common scale, which cosine and BM25 don't have. Equal scores are ordered by chunk id, so that the same
 * search gives the same order.
 */
export function fuse<Source extends string>(
  lists: ReadonlyMap<Source, readonly ScoredChunk[]>,
): FusedChunk<Source>[] {
  const fused = new Map<string, FusedChunk<Source>>();
  for (const [source, chunks] of lists) {
    for (const [index, { score, ...chunk }] of chunks.entries()) {
      const rank = index + 1;
      const entry: FusedChunk<Source> = fused.get(chunk.chunkId) ?? { chunk, score: 0, sources: {} };
      fused.set(chunk.chunkId, entry);
      if (entry.sources[source]) continue;
      entry.score += 1 / (rankConstant + rank);
      entry.sources[source] = { rank, score };
    }
  }
  return [...fused.values()].sort(bestFirst);
}

/** A single source's list keeps its own scores. */
export function single<Source extends string>(
  source: Source,
  chunks: readonly ScoredChunk[],
): FusedChunk<Source>[] {
  return chunks.map(({ score, ...chunk }, index) => {
    const sources: Partial<Record<Source, SourceRank>> = {};
    sources[source] = { rank: index + 1, score };
    return { chunk, score, sources };
  });
}

/** Orders by score, and equal scores by chunk id. */
export function bestFirst(
  a: { score: number; chunk: StoredChunk },
  b: { score: number; chunk: StoredChunk },
): number {
  return b.score - a.score || (a.chunk.chunkId < b.chunk.chunkId ? -1 : 1);
}
