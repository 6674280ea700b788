/** What one batch may be. */
export interface BatchLimits {
  /** Rows at most. */
  maxItems: number;
  /** Padded tokens (rows x longest row) at most; a single row may always run. */
  maxTokens: number;
  /** Share of padding among the padded tokens at most, 0 to 1. */
  maxPaddingShare: number;
}

/**
 * Chooses the next batch from a window of waiting inputs.
 *
 * The oldest input is always in it, so nothing starves. Its company is the run of inputs next to it in order of length
 * that gives the most rows within the limits: on a CPU padding costs more than a bigger batch gains, so a batch is made
 * of equals. When several instances are free the work is shared among them instead of given to the first.
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
  const maxRows = Math.max(
    1,
    Math.min(limits.maxItems, Math.ceil(lengths.length / Math.max(1, freeInstances))),
  );
  if (maxRows === 1 || lengths.length === 1) return [0];
  const order = lengths.map((_, index) => index).sort((a, b) => lengths[a]! - lengths[b]! || a - b);
  const at = order.indexOf(0);
  // sums[i] = tokens of the i shortest inputs, so that any run's tokens are one subtraction.
  const sums = [0];
  for (const index of order) sums.push(sums.at(-1)! + lengths[index]!);

  let best = { from: at, to: at };
  for (let from = Math.max(0, at - maxRows + 1); from <= at; from++) {
    const last = Math.min(order.length, from + maxRows) - 1;
    // The widest run that starts here and fits: padding thins out as equals join, so every end has to be tried.
    for (let to = last; to >= at && to - from > best.to - best.from; to--) {
      const padded = (to - from + 1) * lengths[order[to]!]!;
      const padding = padded - (sums[to + 1]! - sums[from]!);
      if (padded <= limits.maxTokens && padding <= limits.maxPaddingShare * padded) best = { from, to };
    }
  }
  return order.slice(best.from, best.to + 1).sort((a, b) => a - b);
}
