import type { BatchShape } from './cost-model.ts';

/** What one batch may be. */
export interface BatchLimits {
  /** Rows at most. */
  maxItems: number;
  /** Padded tokens (rows x longest row) at most; a single row may always run. */
  maxTokens: number;
}

/** What the choice of a batch rests on, besides the waiting inputs. */
export interface BatchRules {
  limits: BatchLimits;
  /** Microseconds that a batch takes. */
  costUs: (shape: BatchShape) => number;
  /** Microseconds that a batch may take at most, unless it is a single row; Infinity when absent. */
  maxUs?: number | undefined;
  /** Instances that wait for work now, at least 1. */
  freeInstances: number;
}

/**
 * Chooses the next batch from a window of waiting inputs.
 *
 * The first input is always in it: who is first is a matter of fairness, which is decided elsewhere. Its company is the run
 * of inputs next to it in order of length that finishes the most tokens for the time it takes: more rows spread what a batch
 * costs by itself, but every row is padded to the longest. When several instances are free the work is shared among them
 * instead of given to the first.
 *
 * @param lengths tokens of each waiting input; not empty
 * @returns indexes into `lengths`, in ascending order; index 0 is always among them
 */
export function chooseBatch(lengths: readonly number[], rules: BatchRules): number[] {
  const { limits, costUs, maxUs = Number.POSITIVE_INFINITY, freeInstances } = rules;
  const share = Math.ceil(lengths.length / Math.max(1, freeInstances));
  const maxRows = Math.max(1, Math.min(limits.maxItems, share));
  if (maxRows === 1 || lengths.length === 1) return [0];
  const order = lengths.map((_, index) => index).sort((a, b) => lengths[a]! - lengths[b]! || a - b);
  const at = order.indexOf(0);
  // sums[i] = tokens of the i shortest inputs, so that any run's tokens are one subtraction.
  const sums = [0];
  for (const index of order) sums.push(sums.at(-1)! + lengths[index]!);

  let best = {
    from: at,
    to: at,
    rate: lengths[0]! / costUs({ rows: 1, tokens: lengths[0]!, length: lengths[0]! }),
  };
  for (let from = Math.max(0, at - maxRows + 1); from <= at; from++) {
    for (let to = at; to < Math.min(order.length, from + maxRows); to++) {
      const rows = to - from + 1;
      const length = lengths[order[to]!]!;
      if (rows > 1 && rows * length > limits.maxTokens) break;
      const tokens = sums[to + 1]! - sums[from]!;
      const us = costUs({ rows, tokens, length });
      if (rows > 1 && us > maxUs) break;
      const rate = tokens / us;
      // Of equally good ones the widest: it leaves the fewest waiting.
      if (rate > best.rate || (rate === best.rate && rows > best.to - best.from + 1))
        best = { from, to, rate };
    }
  }
  return order.slice(best.from, best.to + 1).sort((a, b) => a - b);
}
