import type { Batch, BatchResult } from '../types.ts';

/** A batch whose answer is known, to tell an instance that fails from an input that can't be computed. */
export interface Canary {
  batch: Batch;
  /** What a sound instance gives; without it only shape and finiteness are looked at. */
  expected?: BatchResult | undefined;
}

/** Largest difference from the expected values, as a share of the largest of them; kernels of different devices round differently. */
const TOLERANCE = 0.1;

/** The canary's batch, to be handed over; it can be handed over again, unlike what it is a copy of. */
export function canaryBatch({ batch }: Canary): Batch {
  return structuredClone(batch);
}

/** @returns what is wrong with the answer to a canary; undefined when nothing is */
export function canaryFault({ batch, expected }: Canary, result: BatchResult): string | undefined {
  if (batch.kind === 'tensors') {
    const [got, wanted] = [result.tensors.length, batch.outputs.length];
    if (got !== wanted) return `${got} outputs instead of ${wanted}`;
    const other = expected?.tensors.find((tensor, at) => !sameShape(tensor.shape, result.tensors[at]!.shape));
    if (other !== undefined) return `output ${other.name} has another shape than before`;
    const broken = result.tensors.find((tensor) => tensor.dataType === 'FP32' && !isFinite32(tensor.data));
    return broken === undefined ? undefined : `output ${broken.name} has values that are not finite`;
  }
  if (result.outputs.length !== batch.rows) return `${result.outputs.length} rows instead of ${batch.rows}`;
  for (const [row, output] of result.outputs.entries()) {
    if (output.length === 0) return `row ${row} is empty`;
    if (!output.every(Number.isFinite)) return `row ${row} has values that are not finite`;
    const fault = expected && difference(expected.outputs[row]!, output);
    if (fault !== undefined) return `row ${row} ${fault}`;
  }
  return undefined;
}

function difference(wanted: Float32Array, got: Float32Array): string | undefined {
  if (got.length !== wanted.length) return `has ${got.length} values instead of ${wanted.length}`;
  const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const apart = got.reduce((most, value, at) => Math.max(most, Math.abs(value - wanted[at]!)), 0);
  return apart <= TOLERANCE * largest
    ? undefined
    : `is off by ${apart.toPrecision(3)}, with values up to ${largest.toPrecision(3)}`;
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dimension, at) => dimension === b[at]);
}

function isFinite32(data: Uint8Array): boolean {
  const aligned = data.byteOffset % 4 === 0 ? data : data.slice();
  return new Float32Array(aligned.buffer, aligned.byteOffset, data.byteLength / 4).every(Number.isFinite);
}
