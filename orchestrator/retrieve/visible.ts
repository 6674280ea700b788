import type { MetadataStore, ScoredChunk } from '../ports.ts';

/** Rows asked of a source at most, however many of them turn out to be hidden. */
const maxRows = 5_000;
const maxRounds = 4;

/**
 * The best `wanted` chunks that readers may see. Chunks of a revision that is not published yet, or no more, lie in
 * the store too; when they crowd out visible ones, more rows are fetched. The first refetch also helps when a
 * document changed between the search and the look at its revision.
 */
export async function fetchVisible(
  fetch: (limit: number) => Promise<ScoredChunk[]>,
  options: { collection: string; wanted: number; metadata: Pick<MetadataStore, 'visibleRevisions'> },
): Promise<ScoredChunk[]> {
  const { collection, wanted, metadata } = options;
  let limit = wanted;
  for (let round = 1; ; round += 1) {
    const rows = await fetch(limit);
    const ids = [...new Set(rows.map(({ documentId }) => documentId))];
    const revisions = ids.length > 0 ? metadata.visibleRevisions(collection, ids) : new Map<string, string>();
    const visible = rows.filter(({ documentId, revision }) => revisions.get(documentId) === revision);
    const exhausted = rows.length < limit && round > 1;
    const enough = visible.length >= wanted || visible.length === rows.length;
    if (enough || exhausted || round === maxRounds) return visible.slice(0, wanted);
    limit = Math.min(limit * 4, maxRows);
  }
}
