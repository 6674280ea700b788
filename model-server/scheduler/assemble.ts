import type { Reduction, TokenBatch, TokenRow } from '../types.ts';

/** An input as the batch needs it. */
export interface BatchRow {
  row: TokenRow;
  reduction: Reduction;
}

/**
 * Writes the rows of a batch into one buffer, one after another and without padding. This is the only copy of the tokens
 * on the server's thread; the worker shapes them as its model wants them.
 */
export function assemble(items: readonly BatchRow[]): TokenBatch {
  const lengths = Int32Array.from(items, (item) => item.row.ids.length);
  const total = lengths.reduce((sum, next) => sum + next, 0);
  const hasTypes = items.some((item) => item.row.typeIds !== undefined);
  const words = new Int32Array(hasTypes ? total * 2 : total);
  let at = 0;
  for (const { row } of items) {
    words.set(row.ids, at);
    if (row.typeIds !== undefined) words.set(row.typeIds, total + at);
    at += row.ids.length;
  }
  return {
    kind: 'tokens',
    rows: items.length,
    tokens: words.buffer,
    lengths,
    reductions: items.map((item) => item.reduction),
  };
}
