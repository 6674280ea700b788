import type { InferenceSession } from 'onnxruntime-node';
import type { TokenBatch } from '../types.ts';
import { type Forward, forwardTexts } from './forward-texts.ts';
import { readFloats } from './read-floats.ts';
import { paddedTensors, planeIndexes, type TokenTensors, wantedBy } from './token-tensors.ts';

/** Texts that a rewritten graph has to prove itself with: few and short, for a load waits for it, and no two alike. */
const LENGTHS = Int32Array.of(6, 1, 11);
const ROWS = LENGTHS.length;
const LONGEST = Math.max(...LENGTHS);
/** The first ids often mean padding and the like. */
const FIRST_ID = 5;

/**
 * Largest difference, as a share of the largest value; most rewritten graphs give the same bits. Values near zero are what
 * larger ones have left, so the share of a small number counts for less than its rounding.
 */
const TOLERANCE = 1e-5;
const LEAST_SCALE = 0.1;

/** What the file as it is makes of the known texts, by output. */
export type Reference = ReadonlyMap<string, Float32Array>;

/** The texts to prove with. @param idCounts how many ids there are, by input */
export function knownTexts(idCounts: ReadonlyMap<string, number>): TokenBatch {
  return batchOf(idCounts, LENGTHS);
}

function batchOf(idCounts: ReadonlyMap<string, number>, lengths: Int32Array, skipped = 0): TokenBatch {
  const total = lengths.reduce((sum, next) => sum + next, 0);
  const ids = idCounts.get('input_ids') ?? 1;
  const types = idCounts.get('token_type_ids') ?? 1;
  const idAt = (at: number) => (ids > FIRST_ID ? FIRST_ID + ((at * 7919) % (ids - FIRST_ID)) : at % ids);
  const words = Int32Array.from({ length: total * 2 }, (_, at) =>
    at < total ? idAt(skipped + at) : (skipped + at - total) % types,
  );
  const reductions = Array.from(lengths, () => ({ kind: 'tokens' }) as const);
  return { kind: 'tokens', rows: lengths.length, tokens: words.buffer, lengths, reductions };
}

/** Runs the file as it is on the known texts, filled up to one length. */
export async function referenceOf(session: InferenceSession, batch: TokenBatch): Promise<Reference> {
  return runPlanes(session, paddedTensors(batch).feeds);
}

/**
 * Proves a rewritten graph: texts in one row against each of them alone and, with a reference, against the file as it is,
 * as texts and as planes of raw tensors.
 * @returns what is wrong; undefined when nothing is
 */
export async function packingFault(
  { session, output }: { session: InferenceSession; output: string },
  { idCounts, reference }: { idCounts: ReadonlyMap<string, number>; reference: Reference | undefined },
): Promise<string | undefined> {
  const run = (batch: TokenBatch) => forwardTexts({ session, output, packed: true }, batch);
  const batch = knownTexts(idCounts);
  const together = await run(batch);
  let skipped = 0;
  for (const [row, length] of LENGTHS.entries()) {
    const alone = await run(batchOf(idCounts, Int32Array.of(length), skipped));
    skipped += length;
    const fault = difference(statesOf(alone, 0, length), statesOf(together, row, length));
    if (fault !== undefined) return `a text of ${length} tokens in company ${fault} from the same alone`;
  }
  if (reference === undefined) return undefined;
  const feeds = { ...paddedTensors(batch).feeds, ...planeIndexes({ rows: ROWS, length: LONGEST }) };
  const planes = await runPlanes(session, feeds);
  for (const [name, values] of reference) {
    const fault = difference(values, planes.get(name)!);
    if (fault !== undefined) return `output ${name} ${fault} from that of the file as it is`;
  }
  const padded = reference.get(output)!;
  const starts = paddedTensors(batch).starts;
  const wanted: Forward = {
    ...together,
    data: padded,
    starts: together.perToken ? starts : together.starts,
  };
  for (const [row, length] of LENGTHS.entries()) {
    const fault = difference(statesOf(wanted, row, length), statesOf(together, row, length));
    if (fault !== undefined)
      return `a text of ${length} tokens ${fault} from what the file as it is makes of it`;
  }
  return undefined;
}

function statesOf({ data, perToken, width, starts }: Forward, row: number, length: number): Float32Array {
  const from = starts[row]! * width;
  return data.subarray(from, from + (perToken ? length : 1) * width);
}

async function runPlanes(session: InferenceSession, feeds: TokenTensors['feeds']): Promise<Reference> {
  const outputs = await session.run(wantedBy(session, feeds));
  const floats = Object.entries(outputs).filter(([, { type }]) => type === 'float32' || type === 'float16');
  return new Map(floats.map(([name, tensor]) => [name, readFloats(name, tensor)]));
}

function difference(wanted: Float32Array, got: Float32Array): string | undefined {
  if (got.length !== wanted.length)
    return `has ${got.length} values, which differ in number (${wanted.length})`;
  let [largest, apart] = [0, 0];
  for (const [at, value] of wanted.entries()) {
    largest = Math.max(largest, Math.abs(value));
    apart = Math.max(apart, Math.abs(value - got[at]!));
  }
  // Not "apart > ...": what is no number is wrong as well.
  return apart <= TOLERANCE * Math.max(largest, LEAST_SCALE)
    ? undefined
    : `differs by ${apart.toPrecision(3)}, with values up to ${largest.toPrecision(3)},`;
}
