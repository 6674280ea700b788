/** Gain of each relevant document of one query; documents that are not in it have none. */
export type Gains = ReadonlyMap<string, number>;

/**
 * Normalised discounted cumulative gain of the first k, with linear gains as trec_eval has them: 1 when the best
 * possible documents lead in the best order. 0 when nothing is relevant at all.
 */
export function ndcg(ranked: readonly string[], gains: Gains, k: number): number {
  const ideal = [...gains.values()].filter((gain) => gain > 0).sort((a, b) => b - a);
  const best = discounted(ideal.slice(0, k));
  return best === 0 ? 0 : discounted(ranked.slice(0, k).map((id) => Math.max(0, gains.get(id) ?? 0))) / best;
}

/** Share of the relevant documents that are among the first k. */
export function recall(ranked: readonly string[], gains: Gains, k: number): number {
  const relevant = [...gains].filter(([, gain]) => gain > 0).map(([id]) => id);
  const found = new Set(ranked.slice(0, k));
  return relevant.length === 0 ? 0 : relevant.filter((id) => found.has(id)).length / relevant.length;
}

/** 1 / rank of the first relevant document among the first k, or 0. */
export function reciprocalRank(ranked: readonly string[], gains: Gains, k: number): number {
  const index = ranked.slice(0, k).findIndex((id) => (gains.get(id) ?? 0) > 0);
  return index < 0 ? 0 : 1 / (index + 1);
}

/** The documents of chunk hits, each at the place of its best chunk. */
export function documentsOf(hits: readonly { document_id: string }[]): string[] {
  return [...new Set(hits.map(({ document_id }) => document_id))];
}

/** The mean; 0 of nothing. */
export function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The value that a share of the values does not exceed (nearest rank); 0 of nothing. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
}

function discounted(gains: readonly number[]): number {
  return gains.reduce((sum, gain, index) => sum + gain / Math.log2(index + 2), 0);
}
