/** A sparse vector as it travels. */
export interface Sparse {
  indices: number[];
  values: number[];
}

/** The vectors of a point, the dense one of unit length. */
export interface Scored {
  dense: Float32Array;
  sparse: Sparse | undefined;
}

/** Scores a point by the cosine with a vector. */
export function cosine(vector: number[]): (point: Scored) => number | undefined {
  const length = Math.hypot(...vector);
  return ({ dense }) =>
    vector.reduce((sum, value, index) => sum + value * (dense[index] ?? 0), 0) / (length || 1);
}

/**
 * Scores a point by the dot product of sparse vectors; undefined when they share no term, for that is no hit. With
 * the IDF modifier each weight of the query is multiplied by its term's inverse document frequency.
 */
export function sparseDot(
  { indices, values }: Sparse,
  { all, withIdf }: { all: readonly Scored[]; withIdf: boolean },
): (point: Scored) => number | undefined {
  const stored = all.flatMap(({ sparse }) => (sparse ? [sparse] : []));
  const frequency = new Map<number, number>();
  for (const index of stored.flatMap((sparse) => sparse.indices)) {
    frequency.set(index, (frequency.get(index) ?? 0) + 1);
  }
  const idf = (found: number) => Math.log(1 + (stored.length - found + 0.5) / (found + 0.5));
  const weights = new Map(
    indices.map((index, at) => [index, (values[at] ?? 0) * (withIdf ? idf(frequency.get(index) ?? 0) : 1)]),
  );
  return ({ sparse }) => {
    const shared = sparse?.indices.flatMap((index, at) =>
      weights.has(index) ? [weights.get(index)! * sparse.values[at]!] : [],
    );
    return shared?.length ? shared.reduce((sum, value) => sum + value, 0) : undefined;
  };
}
