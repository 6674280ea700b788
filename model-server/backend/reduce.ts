import type { Pooling, TokenBatch } from '../types.ts';
import type { Forward } from './forward-texts.ts';

export interface ReduceOptions {
  pooling: Pooling;
  normalize: boolean;
}

/**
 * From a forward pass, what each row of the batch asked for, packed one after another. Done in the worker because it
 * shrinks what has to cross the threads by the length of the text.
 *
 * @returns the packed values and, for each row, where its values end
 * @throws Error when a row asks for something that the model's output can't give
 */
export function reduce(forward: Forward, batch: TokenBatch, options: ReduceOptions) {
  const sizes = batch.reductions.map((reduction, row) => {
    if (reduction.kind === 'maxsim') return 1;
    return reduction.kind === 'tokens' ? batch.lengths[row]! * forward.width : forward.width;
  });
  const values = new Float32Array(sizes.reduce((sum, size) => sum + size, 0));
  const ends: number[] = [];
  let at = 0;
  batch.reductions.forEach((reduction, row) => {
    const out = values.subarray(at, at + sizes[row]!);
    at += sizes[row]!;
    ends.push(at);
    const tokens = batch.lengths[row]!;
    if (reduction.kind === 'logits') {
      out.set(statesOf(forward, row, 1));
    } else if (reduction.kind === 'pooled') {
      // A text of no tokens, not even special ones, has no direction: its vector stays zero instead of none at all.
      if (tokens === 0) return;
      // A model that pools by itself gives one state per row; then there is nothing left to pool.
      const pooled = forward.perToken && options.pooling !== 'cls' ? tokens : 1;
      pool(statesOf(forward, row, pooled), options, out);
    } else {
      if (!forward.perToken)
        throw new Error('this model gives one vector per text; token states are not to be had');
      const states = statesOf(forward, row, tokens);
      if (reduction.kind === 'tokens') writeUnitStates(states, forward.width, out);
      else out[0] = maxSim(reduction.query, states, forward.width);
    }
  });
  return { values, ends };
}

/** The first states of a row. */
function statesOf({ data, width, starts }: Forward, row: number, count: number): Float32Array {
  return data.subarray(starts[row]! * width, (starts[row]! + count) * width);
}

/** @param states at least one, [states, width] with the width of `out` */
function pool(states: Float32Array, options: ReduceOptions, out: Float32Array): void {
  const width = out.length;
  const tokens = states.length / width;
  // Sums are kept in doubles so that the result does not depend on float32 rounding order.
  const sums = new Float64Array(width);
  if (options.pooling === 'max') sums.fill(Number.NEGATIVE_INFINITY);
  for (let t = 0; t < tokens; t++) {
    const from = t * width;
    if (options.pooling === 'max')
      for (let d = 0; d < width; d++) sums[d] = Math.max(sums[d]!, states[from + d]!);
    else for (let d = 0; d < width; d++) sums[d]! += states[from + d]!;
  }
  const scale = options.pooling === 'max' ? 1 : 1 / tokens;
  let squares = 0;
  for (let d = 0; d < width; d++) {
    sums[d]! *= scale;
    squares += sums[d]! * sums[d]!;
  }
  const norm = options.normalize && squares > 0 ? 1 / Math.sqrt(squares) : 1;
  for (let d = 0; d < width; d++) out[d] = sums[d]! * norm;
}

/** Each token's state at unit length. */
function writeUnitStates(states: Float32Array, width: number, out: Float32Array): void {
  for (let from = 0; from < states.length; from += width) {
    const scale = inverseNorm(states, from, width);
    for (let i = from; i < from + width; i++) out[i] = states[i]! * scale;
  }
}

function inverseNorm(states: Float32Array, from: number, width: number): number {
  let squares = 0;
  for (let i = from; i < from + width; i++) squares += states[i]! * states[i]!;
  return squares > 0 ? 1 / Math.sqrt(squares) : 0;
}

/**
 * Late interaction: the mean over the query's tokens of the best cosine with any token of the document (MaxSim of
 * ColBERT, Khattab and Zaharia 2020, as a mean so that it does not grow with the query). 0 for an empty query.
 *
 * @param query unit-length token states, [query tokens, width]
 * @param document token states of any length, [document tokens, width]
 */
export function maxSim(query: Float32Array, document: Float32Array, width: number): number {
  const queryTokens = query.length / width;
  if (queryTokens === 0) return 0;
  const best = new Float64Array(queryTokens).fill(Number.NEGATIVE_INFINITY);
  for (let from = 0; from < document.length; from += width) {
    // The document's states are divided by their norms here, which spares a unit-length copy of all of them.
    const scale = inverseNorm(document, from, width);
    for (let q = 0; q < queryTokens; q++) {
      let dot = 0;
      for (let d = 0, i = q * width, j = from; d < width; d++, i++, j++) dot += query[i]! * document[j]!;
      if (dot * scale > best[q]!) best[q] = dot * scale;
    }
  }
  return best.reduce((sum, cosine) => sum + cosine, 0) / queryTokens;
}
