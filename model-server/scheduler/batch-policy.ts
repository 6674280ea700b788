/** What one batch may be, and what it costs. */
export interface BatchLimits {
  /** Rows at most. */
  maxItems: number;
  /** Padded tokens (rows x longest row) at most; a single row may always run. */
  maxTokens: number;
  /** What a batch costs before its first token, counted in tokens: a forward pass of n tokens takes overhead + n. */
  overheadTokens: number;
}

/**
 * Chooses the next batch from a window of waiting inputs.
 *
 * The oldest input is always in it, so nothing starves. Its company is the run of inputs next to it in order of length
 * that finishes the most tokens for its cost: more rows spread the overhead of a batch, but every row is padded to the
 * longest. When several instances are free the work is shared among them instead of given to the first.
 *
 * @param lengths tokens of each waiting input, oldest first; not empty
 * @param freeInstances instances that wait for work now, at least 1
 * @returns indexes into `lengths`, in ascending order; index 0 is always among them
 */
export function chooseBatch(
  lengths: readonly number[],
  limits: BatchLimits,
  freeInstances: number,
): number[] {
  const { maxItems, maxTokens, overheadTokens } = limits;
  const maxRows = Math.max(1, Math.min(maxItems, Math.ceil(lengths.length / Math.max(1, freeInstances))));
  if (maxRows === 1 || lengths.length === 1) return [0];
  const order = lengths.map((_, index) => index).sort((a, b) => lengths[a]! - lengths[b]! || a - b);
  const at = order.indexOf(0);
  // sums[i] = tokens of the i shortest inputs, so that any run's tokens are one subtraction.
  const sums = [0];
  for (const index of order) sums.push(sums.at(-1)! + lengths[index]!);

  let best = { from: at, to: at, yield: lengths[0]! / (overheadTokens + lengths[0]!) };
  for (let from = Math.max(0, at - maxRows + 1); from <= at; from++) {
    for (let to = at; to < Math.min(order.length, from + maxRows); to++) {
      const rows = to - from + 1;
      const padded = rows * lengths[order[to]!]!;
      if (padded > maxTokens) break;
      const tokensPerCost = (sums[to + 1]! - sums[from]!) / (overheadTokens + padded);
      // Of equally good ones the widest: it leaves the fewest waiting.
      const isBetter =
        tokensPerCost > best.yield || (tokensPerCost === best.yield && rows > best.to - best.from + 1);
      if (isBetter) best = { from, to, yield: tokensPerCost };
    }
  }
  return order.slice(best.from, best.to + 1).sort((a, b) => a - b);
}
