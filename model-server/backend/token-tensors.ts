import { Tensor } from 'onnxruntime-node';
import type { TokenBatch } from '../types.ts';

/** The texts of a batch as a session takes them. */
export interface TokenTensors {
  /** int64 tensors by the names of the inputs. */
  feeds: Record<string, Tensor>;
  /** For each text, the place of its first token among all states that come back. */
  starts: Int32Array;
}

/** input_ids, attention_mask and token_type_ids [rows, longest], every text filled up with zeros to the longest. */
export function paddedTensors({ rows, tokens, lengths }: TokenBatch): TokenTensors {
  const length = longestOf(lengths);
  const words = new Int32Array(tokens);
  const total = lengths.reduce((sum, next) => sum + next, 0);
  const [ids, mask, types] = [words64(rows * length), words64(rows * length), words64(rows * length)];
  const starts = new Int32Array(rows);
  let from = 0;
  for (let row = 0; row < rows; row++) {
    const first = row * length;
    starts[row] = first;
    for (let t = 0; t < lengths[row]!; t++, from++) {
      const at = (first + t) * 2;
      ids[at] = words[from]!;
      mask[at] = 1;
      if (words.length > total) types[at] = words[total + from]!;
    }
  }
  const dims = [rows, length];
  return {
    feeds: {
      input_ids: int64Tensor(ids, dims),
      attention_mask: int64Tensor(mask, dims),
      token_type_ids: int64Tensor(types, dims),
    },
    starts,
  };
}

/** Tokens of the longest text, and at least 1, for no session takes an empty dimension. */
export function longestOf(lengths: Int32Array): number {
  return lengths.reduce((longest, next) => Math.max(longest, next), 1);
}

/**
 * Room for int64 values, to be written by their low words: what is fed is never negative and fits in 31 bits, and the
 * zeroed high words then spare a BigInt for each.
 */
export function words64(count: number): Int32Array<ArrayBuffer> {
  return new Int32Array(count * 2);
}

export function int64Tensor(words: Int32Array<ArrayBuffer>, dims: readonly number[]): Tensor {
  return new Tensor('int64', new BigInt64Array(words.buffer), dims);
}
