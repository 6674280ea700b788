import { offsetOfElement } from '../tensor-bytes.ts';
import type { RawTensor, TensorBatch } from '../types.ts';

/** The raw tensors of one request, checked against the model. */
export interface TensorCall {
  inputs: readonly RawTensor[];
  /** Names of the outputs to compute. */
  outputs: readonly string[];
  /** Length of the batch dimension; 1 for a model without one. */
  rows: number;
  /** Whether it may share a forward pass with equal calls, joined along the first dimension. */
  joinable: boolean;
}

/** Calls of one key differ in their values and rows only. */
export function tensorKey({ inputs, outputs }: TensorCall): string {
  return JSON.stringify([
    inputs.map(({ name, dataType, shape }) => [name, dataType, shape.slice(1)]),
    outputs,
  ]);
}

/**
 * Joins calls of one key along the first dimension. Row-major values of one call after those of another are the joined
 * tensor; this is the only copy of them on the way to the runtime, and the batch owns it.
 */
export function joinTensors(calls: readonly TensorCall[]): TensorBatch {
  const [first] = calls;
  const rows = calls.reduce((sum, call) => sum + call.rows, 0);
  const inputs = first!.inputs.map(({ name, dataType, shape }, index) => {
    const parts = calls.map((call) => call.inputs[index]!.data);
    return {
      name,
      dataType,
      shape: calls.length === 1 ? [...shape] : [rows, ...shape.slice(1)],
      data: concatenated(parts),
    };
  });
  return { kind: 'tensors', rows, inputs, outputs: [...first!.outputs] };
}

/**
 * The outputs of each joined call, as views of the joined ones.
 * @param rows of each call, in the order in which they were joined
 * @throws Error when an output has not one row for each that went in
 */
export function splitTensors(tensors: readonly RawTensor[], rows: readonly number[]): RawTensor[][] {
  if (rows.length === 1) return [[...tensors]];
  const total = rows.reduce((sum, next) => sum + next, 0);
  const byTensor = tensors.map((tensor) => {
    if (tensor.shape[0] !== total) {
      throw new Error(
        `output ${tensor.name} of a batch of ${total} has shape [${tensor.shape.join(', ')}]; its first dimension is no batch dimension`,
      );
    }
    return splitTensor(tensor, rows, total);
  });
  return rows.map((_, call) => byTensor.map((parts) => parts[call]!));
}

function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const data = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part, at);
    at += part.byteLength;
  }
  return data;
}

function splitTensor(tensor: RawTensor, rows: readonly number[], total: number): RawTensor[] {
  const { dataType, shape, data } = tensor;
  const rest = shape.slice(1);
  const rowElements = rest.reduce((product, dimension) => product * dimension, 1);
  let at = 0;
  return rows.map((count) => {
    const end =
      dataType === 'BYTES'
        ? offsetOfElement(data, count * rowElements, at)!
        : at + (data.byteLength / total) * count;
    const part = { ...tensor, shape: [count, ...rest], data: data.subarray(at, end) };
    at = end;
    return part;
  });
}
