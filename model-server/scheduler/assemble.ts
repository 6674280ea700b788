import type { Reduction, TokenBatch, TokenRow } from '../types.ts';

/** An input as the batch needs it. */
export interface BatchRow {
  row: TokenRow;
  reduction: Reduction;
}

/**
 * Writes the rows of a batch into one buffer: three int64 planes (ids, mask, type ids) of rows x longest row. This is
 * the only copy of the tokens between the tokenizer and the runtime.
 */
export function assemble(items: readonly BatchRow[]): TokenBatch {
  const rows = items.length;
  const lengths = Int32Array.from(items, (item) => item.row.ids.length);
  const length = lengths.reduce((longest, next) => Math.max(longest, next), 1);
  const plane = rows * length;
  const tokens = new ArrayBuffer(plane * 3 * 8);
  // Ids fit in 32 bits and the buffer is zeroed, so writing the low words spares a BigInt per token.
  const words = new Int32Array(tokens);
  items.forEach((item, r) => {
    const { ids, typeIds } = item.row;
    for (let t = 0; t < ids.length; t++) {
      const at = (r * length + t) * 2;
      words[at] = ids[t]!;
      words[at + plane * 2] = 1;
      if (typeIds !== undefined) words[at + plane * 4] = typeIds[t]!;
    }
  });
  return { kind: 'tokens', rows, length, tokens, lengths, reductions: items.map((item) => item.reduction) };
}
