import type { DataType, TensorSpec } from '../../types.ts';
import type { OnnxFile, OnnxTensor } from './onnx-file.ts';
import type { Reshape, Reshapes } from './reshape.ts';
import type { TritonMessage } from './triton-schema.ts';

/** Inputs and outputs as callers see them, batch dimension included. */
export interface ServedTensors {
  inputs: TensorSpec[];
  outputs: TensorSpec[];
  reshapes: Reshapes;
  /** Whether requests can be joined along the first dimension. */
  batched: boolean;
  /** What in the configuration contradicts the model file. */
  problems: string[];
}

interface Declared {
  name: string;
  data_type: string;
  dims: number[];
  reshape?: { shape: number[] } | undefined;
}

/** What declarations are held against; `file` is the name of the file with the configuration. */
interface Comparison {
  kind: 'input' | 'output';
  maxBatch: number | undefined;
  file: string;
  reshapes: Map<string, Reshape>;
  problems: string[];
}

/** Compares the configuration's inputs and outputs with those of the model file, and completes them from there. */
export function serveTensors(message: TritonMessage, file: string, onnx: OnnxFile): ServedTensors {
  const shared = { maxBatch: message.max_batch_size, file, reshapes: new Map(), problems: [] };
  const inputs = compareAll(message.input, onnx.inputs, { ...shared, kind: 'input' });
  const outputs = compareAll(message.output, onnx.outputs, { ...shared, kind: 'output' });
  const batched = message.max_batch_size === undefined ? canBatch(onnx) : message.max_batch_size > 0;
  return { inputs, outputs, reshapes: shared.reshapes, batched, problems: shared.problems };
}

/** Whether the first dimension of all inputs and outputs is of any length. */
function canBatch({ inputs, outputs }: OnnxFile): boolean {
  return (
    inputs.length > 0 &&
    inputs.every((input) => input.shape[0] === -1) &&
    outputs.every((output) => !output.ranked || output.shape[0] === -1)
  );
}

function compareAll(
  declared: readonly Declared[],
  actual: readonly OnnxTensor[],
  comparison: Comparison,
): TensorSpec[] {
  const { kind, file, problems } = comparison;
  if (declared.length === 0) {
    for (const tensor of actual) checkBatchDimension(tensor, comparison);
    return actual.map(({ name, dataType, shape }) => ({ name, dataType, shape }));
  }
  const names = declared.map((tensor) => tensor.name);
  for (const name of names.filter((name, index) => names.indexOf(name) !== index))
    problems.push(`${kind} "${name}" stands twice in ${file}`);
  // Outputs that are not declared are not served, as in Triton; inputs are all needed.
  const forgotten = actual.filter((tensor) => kind === 'input' && !names.includes(tensor.name));
  for (const tensor of forgotten)
    problems.push(`input "${tensor.name}" (${text(tensor)}) of the model file is not in ${file}`);
  return declared.map((tensor) => {
    const found = actual.find((candidate) => candidate.name === tensor.name);
    return compare(tensor, found, { comparison, all: actual });
  });
}

function compare(
  declared: Declared,
  actual: OnnxTensor | undefined,
  { comparison, all }: { comparison: Comparison; all: readonly OnnxTensor[] },
): TensorSpec {
  const { kind, file, problems } = comparison;
  const dataType = (declared.data_type === 'TYPE_STRING' ? 'BYTES' : declared.data_type.slice(5)) as DataType;
  const spec = { name: declared.name, dataType, shape: declared.dims };
  const subject = `${kind} "${declared.name}"`;
  if (actual === undefined) {
    const names = all.map((tensor) => tensor.name).join(', ') || 'none';
    problems.push(`${subject} is in ${file}, but the ${kind}s of the model file are ${names}`);
    return spec;
  }
  if (actual.dataType !== dataType)
    problems.push(`${subject} is ${declared.data_type} in ${file}, but ${actual.dataType} in the model file`);
  const inside = declared.reshape?.shape ?? declared.dims;
  const withBatch = hasBatchDimension(inside, actual, comparison.maxBatch);
  const shape = withBatch ? [-1, ...declared.dims] : declared.dims;
  const wanted = withBatch ? [-1, ...inside] : inside;
  if (checkBatchDimension(actual, comparison) && actual.ranked && !fits(wanted, actual.shape)) {
    const batch = withBatch ? ' (with the batch dimension)' : '';
    problems.push(`${subject} is [${wanted}]${batch} in ${file}, but [${actual.shape}] in the model file`);
  }
  if (declared.reshape !== undefined) {
    if (!sameElements(declared.dims, inside))
      problems.push(`${subject}: reshape [${inside}] has other elements than dims [${declared.dims}]`);
    comparison.reshapes.set(declared.name, { outside: shape, inside: wanted });
  }
  return { ...spec, shape };
}

/** Without max_batch_size the number of dimensions tells whether the batch dimension was left out. */
function hasBatchDimension(inside: number[], actual: OnnxTensor, maxBatch: number | undefined): boolean {
  if (maxBatch !== undefined) return maxBatch > 0;
  return actual.shape[0] === -1 && actual.shape.length === inside.length + 1;
}

function checkBatchDimension(actual: OnnxTensor, { kind, maxBatch, file, problems }: Comparison): boolean {
  if (!maxBatch || !actual.ranked || actual.shape[0] === -1) return true;
  problems.push(
    `${kind} "${actual.name}" is [${actual.shape}] in the model file, so it can't be batched; set max_batch_size to 0 in ${file}`,
  );
  return false;
}

/** A dimension of any length in the model takes every declared one; a fixed one takes only itself. */
function fits(declared: number[], actual: number[]): boolean {
  return (
    declared.length === actual.length &&
    actual.every((length, index) => length === -1 || length === declared[index])
  );
}

function sameElements(a: number[], b: number[]): boolean {
  const count = (dims: number[]) => dims.reduce((product, dim) => product * (dim < 0 ? 1 : dim), 1);
  const free = (dims: number[]) => dims.filter((dim) => dim < 0).length;
  return count(a) === count(b) && free(a) === free(b);
}

const text = ({ dataType, shape }: OnnxTensor) => `${dataType} [${shape}]`;
