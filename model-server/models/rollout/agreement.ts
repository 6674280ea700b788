type Values = ArrayLike<number>;

/** Cosine of two vectors; 0 when their widths differ or one has no length, for then they agree in nothing. */
export function cosine(a: Values, b: Values): number {
  if (a.length !== b.length) return 0;
  let dot = 0;
  let squareA = 0;
  let squareB = 0;
  for (let at = 0; at < a.length; at++) {
    const x = a[at]!;
    const y = b[at]!;
    dot += x * y;
    squareA += x * x;
    squareB += y * y;
  }
  const product = squareA * squareB;
  if (!(product > 0)) return 0;
  return Math.min(1, Math.max(-1, dot / Math.sqrt(product)));
}

/**
 * Kendall's tau-b of two scorings of the same things: 1 for the same order, -1 for the reverse one, ties counted as
 * Kendall (1945) does. Computed in O(n log n) as in Knight, "A computer method for calculating Kendall's tau with
 * ungrouped data" (1966).
 * @param a scores by thing, `b` likewise; equally many
 * @returns undefined where there is no order to compare: fewer than two things, or all tied on one side
 */
export function kendallTau(a: Values, b: Values): number | undefined {
  const count = a.length;
  if (count !== b.length || count < 2) return undefined;
  const order = Array.from({ length: count }, (_, at) => at).sort(
    (left, right) => a[left]! - a[right]! || b[left]! - b[right]!,
  );
  const pairs = (count * (count - 1)) / 2;
  const tiedA = tiedPairs(order, (left, right) => a[left] === a[right]);
  const tiedBoth = tiedPairs(order, (left, right) => a[left] === a[right] && b[left] === b[right]);
  const values = Float64Array.from(order, (at) => b[at]!);
  const discordant = countInversions(values, new Float64Array(count), { from: 0, to: count });
  // The values are sorted now.
  const tiedB = tiedPairs(values, (left, right) => left === right);
  const scale = Math.sqrt(pairs - tiedA) * Math.sqrt(pairs - tiedB);
  if (!(scale > 0)) return undefined;
  const concordant = pairs - tiedA - tiedB + tiedBoth - discordant;
  return Math.min(1, Math.max(-1, (concordant - discordant) / scale));
}

/**
 * Share of the `k` best things under `a` that are among the `k` best under `b`, 0 to 1; of equal scores the earlier
 * thing is the better. 1 where there is nothing to compare.
 */
export function topOverlap(a: Values, b: Values, k: number): number {
  const size = Math.min(k, a.length, b.length);
  if (size <= 0) return 1;
  const best = new Set(topOf(b, size));
  return topOf(a, size).filter((at) => best.has(at)).length / size;
}

/** Places of the `k` highest scores, best first. */
export function topOf(scores: Values, k: number): number[] {
  return Array.from({ length: scores.length }, (_, at) => at)
    .sort((left, right) => scores[right]! - scores[left]! || left - right)
    .slice(0, k);
}

/** Pairs within runs of equal neighbours. */
function tiedPairs(sorted: Values, equal: (left: number, right: number) => boolean): number {
  let pairs = 0;
  let run = 1;
  for (let at = 1; at <= sorted.length; at++) {
    if (at < sorted.length && equal(sorted[at - 1]!, sorted[at]!)) {
      run += 1;
    } else {
      pairs += (run * (run - 1)) / 2;
      run = 1;
    }
  }
  return pairs;
}

/** Sorts a range by merging and counts the pairs that stood in the wrong order. */
function countInversions(
  values: Float64Array,
  scratch: Float64Array,
  { from, to }: { from: number; to: number },
): number {
  if (to - from < 2) return 0;
  const middle = (from + to) >> 1;
  let inversions =
    countInversions(values, scratch, { from, to: middle }) +
    countInversions(values, scratch, { from: middle, to });
  let left = from;
  let right = middle;
  for (let at = from; at < to; at++) {
    if (left < middle && (right === to || values[left]! <= values[right]!)) {
      scratch[at] = values[left++]!;
    } else {
      scratch[at] = values[right++]!;
      inversions += middle - left;
    }
  }
  values.set(scratch.subarray(from, to), from);
  return inversions;
}
