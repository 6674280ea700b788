import type { Batch, BatchResult, RawTensor } from '../types.ts';

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
  return batch.kind === 'tensors'
    ? tensorFault(batch.outputs, result.tensors, expected?.tensors)
    : textFault(batch.rows, result.outputs, expected?.outputs);
}

/** Values are not compared: a model of raw tensors may draw random numbers. */
function tensorFault(
  names: readonly string[],
  tensors: readonly RawTensor[],
  expected: readonly RawTensor[] | undefined,
): string | undefined {
  if (tensors.length !== names.length) return `${tensors.length} outputs instead of ${names.length}`;
  for (const [at, tensor] of tensors.entries()) {
    const wanted = expected?.[at];
    if (wanted !== undefined && !sameShape(wanted.shape, tensor.shape))
      return `output ${tensor.name} has shape [${tensor.shape.join(', ')}] instead of [${wanted.shape.join(', ')}]`;
    // Made-up inputs can have an answer that is no number, such as a logarithm of zero; then it proves nothing.
    if (!isFinite32(tensor) && (wanted === undefined || isFinite32(wanted)))
      return `output ${tensor.name} has values that are not finite`;
  }
  return undefined;
}

function textFault(
  rows: number,
  outputs: readonly Float32Array[],
  expected: readonly Float32Array[] | undefined,
): string | undefined {
  if (outputs.length !== rows) return `${outputs.length} rows instead of ${rows}`;
  for (const [row, output] of outputs.entries()) {
    if (output.length === 0) return `row ${row} is empty`;
    if (!output.every(Number.isFinite)) return `row ${row} has values that are not finite`;
    const fault = expected && difference(expected[row]!, output);
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

function isFinite32({ dataType, data }: RawTensor): boolean {
  if (dataType !== 'FP32') return true;
  const aligned = data.byteOffset % 4 === 0 ? data : data.slice();
  return new Float32Array(aligned.buffer, aligned.byteOffset, data.byteLength / 4).every(Number.isFinite);
}
