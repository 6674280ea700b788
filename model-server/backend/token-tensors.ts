import { type InferenceSession, Tensor } from 'onnxruntime-node';
import type { TokenBatch } from '../types.ts';
import { PACKING_INPUTS } from './graph/packing.ts';

/** The texts of a batch as a session takes them. */
export interface TokenTensors {
  /** int64 tensors by the names of the inputs. */
  feeds: Record<string, Tensor>;
  /** For each text, the place of its first token among all states that come back. */
  starts: Int32Array;
}

/** Of all that could be fed, what a session takes. */
export function wantedBy(
  { inputNames }: Pick<InferenceSession, 'inputNames'>,
  feeds: Readonly<Record<string, Tensor>>,
): Record<string, Tensor> {
  const taken = inputNames.flatMap((name) =>
    feeds[name] === undefined ? [] : [[name, feeds[name]] as const],
  );
  return Object.fromEntries(taken);
}

/** input_ids, attention_mask and token_type_ids [rows, longest], every text filled up with zeros to the longest. */
export function paddedTensors({ rows, tokens, lengths }: TokenBatch): TokenTensors {
  const length = longestOf(lengths);
  const words = new Int32Array(tokens);
  const total = sumOf(lengths);
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

/**
 * The tokens of all texts in one row for a rewritten graph, and the indexes that lead to the padded layout and back. A text
 * of no tokens gets one of id 0, since there has to be something to attend to.
 */
export function packedTensors({ rows, tokens, lengths }: TokenBatch): TokenTensors {
  const words = new Int32Array(tokens);
  const counts = lengths.map((length) => Math.max(1, length));
  const length = longestOf(counts);
  const [given, total] = [sumOf(lengths), sumOf(counts)];
  const [ids, types, positions, unpad] = [words64(total), words64(total), words64(total), words64(total)];
  const [mask, pad] = [words64(rows * length), words64(rows * length)];
  const starts = new Int32Array(rows);
  let [from, to] = [0, 0];
  for (let row = 0; row < rows; row++) {
    starts[row] = to;
    for (let t = 0; t < counts[row]!; t++, to++) {
      const cell = row * length + t;
      positions[to * 2] = t;
      unpad[to * 2] = cell;
      mask[cell * 2] = 1;
      pad[cell * 2] = to;
      if (lengths[row] === 0) continue;
      ids[to * 2] = words[from]!;
      if (words.length > given) types[to * 2] = words[given + from]!;
      from++;
    }
  }
  const first = words64(rows);
  for (let row = 0; row < rows; row++) first[row * 2] = starts[row]!;
  const [row, cells] = [
    [1, total],
    [rows, length],
  ] as const;
  return {
    feeds: {
      input_ids: int64Tensor(ids, row),
      token_type_ids: int64Tensor(types, row),
      attention_mask: int64Tensor(mask, cells),
      [PACKING_INPUTS.positions]: int64Tensor(positions, row),
      [PACKING_INPUTS.unpad]: int64Tensor(unpad, row),
      [PACKING_INPUTS.pad]: int64Tensor(pad, cells),
      [PACKING_INPUTS.first]: int64Tensor(first, [rows]),
    },
    starts,
  };
}

const sumOf = (lengths: Int32Array) => lengths.reduce((sum, next) => sum + next, 0);

/** What a rewritten graph needs beside planes of rows x length to do what the file's own does. */
export function planeIndexes({ rows, length }: { rows: number; length: number }): Record<string, Tensor> {
  const cells = words64(rows * length);
  const positions = words64(rows * length);
  const first = words64(rows);
  for (let row = 0; row < rows; row++) {
    first[row * 2] = row * length;
    for (let t = 0; t < length; t++) {
      const cell = row * length + t;
      cells[cell * 2] = cell;
      positions[cell * 2] = t;
    }
  }
  const dims = [rows, length];
  const identity = int64Tensor(cells, dims);
  return {
    [PACKING_INPUTS.positions]: int64Tensor(positions, dims),
    [PACKING_INPUTS.pad]: identity,
    [PACKING_INPUTS.unpad]: identity,
    [PACKING_INPUTS.first]: int64Tensor(first, [rows]),
  };
}

/** Tokens of the longest text, and at least 1, for no session takes an empty dimension. */
function longestOf(lengths: Int32Array): number {
  return lengths.reduce((longest, next) => Math.max(longest, next), 1);
}

/**
 * Room for int64 values, to be written by their low words: what is fed is never negative and fits in 31 bits, and the
 * zeroed high words then spare a BigInt for each.
 */
function words64(count: number): Int32Array<ArrayBuffer> {
  return new Int32Array(count * 2);
}

function int64Tensor(words: Int32Array<ArrayBuffer>, dims: readonly number[]): Tensor {
  return new Tensor('int64', new BigInt64Array(words.buffer), dims);
}
