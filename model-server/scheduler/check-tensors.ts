import { isUtf8 } from 'node:buffer';
import { ServingError } from '../errors.ts';
import { elementBytes, elementsOf, offsetOfElement } from '../tensor-bytes.ts';
import type { RawTensor, TensorSpec } from '../types.ts';
import type { TensorCall } from './tensor-call.ts';

/** No tensor of use has more dimensions; a model of unknown shape would otherwise be asked for any number of them. */
const MAX_RANK = 32;

export interface CheckOptions {
  /** Model and version, for messages. */
  owner: string;
  /** Whether the first dimension of every tensor is the batch. */
  batched: boolean;
  /** Rows of one request at most; of no meaning without a batch dimension. */
  maxRows: number;
}

/**
 * Checks the raw tensors of a request against what a model declares, before they cost anything.
 * @param specs what the model declares; a shape of no dimensions stands for any shape
 * @param request inputs in any order; `outputs` names the wanted ones, none means all
 * @returns the call with its inputs in the model's order
 * @throws ServingError SHAPE_MISMATCH for a tensor that is missing, unknown or of another type, shape or size;
 *   BATCH_TOO_LARGE; INVALID_INPUT for an output that is not there, or a string that the runtime does not carry
 */
export function checkTensors(
  specs: { inputs: readonly TensorSpec[]; outputs: readonly TensorSpec[] },
  request: { inputs: readonly RawTensor[]; outputs: readonly string[] },
  options: CheckOptions,
): TensorCall {
  const inputs = matchInputs(specs.inputs, request.inputs, options.owner);
  for (const [index, input] of inputs.entries()) checkInput(specs.inputs[index]!, input, options);
  const rows = options.batched ? rowsOf(inputs, options) : 1;
  const outputs = matchOutputs(specs.outputs, request.outputs, options.owner);
  const involved = [...specs.inputs, ...outputs];
  return {
    inputs,
    outputs: outputs.map((output) => output.name),
    rows,
    // What has a fixed first dimension, or none that is known, can't be joined along it.
    joinable: options.batched && involved.every((spec) => spec.shape[0] === -1),
  };
}

function mismatch(owner: string, what: string): ServingError {
  return new ServingError('SHAPE_MISMATCH', `${owner}: ${what}.`);
}

function matchInputs(
  specs: readonly TensorSpec[],
  inputs: readonly RawTensor[],
  owner: string,
): readonly RawTensor[] {
  const given = new Map(inputs.map((input) => [input.name, input]));
  const wanted = specs.map((spec) => spec.name);
  const list = wanted.join(', ');
  const extra = inputs.find((input) => !wanted.includes(input.name));
  if (extra !== undefined) throw mismatch(owner, `there is no input ${extra.name}; its inputs are ${list}`);
  if (given.size < inputs.length) throw mismatch(owner, `an input is given twice; its inputs are ${list}`);
  return specs.map((spec) => {
    const input = given.get(spec.name);
    if (input === undefined) throw mismatch(owner, `input ${spec.name} is missing; its inputs are ${list}`);
    return input;
  });
}

function checkInput(spec: TensorSpec, { dataType, shape, data }: RawTensor, { owner }: CheckOptions): void {
  const [wanted, given] = [describe(spec), describe({ dataType, shape })];
  const refuse = (why: string) => mismatch(owner, `input ${spec.name} ${why}`);
  if (dataType !== spec.dataType) throw refuse(`is ${given}, but the model takes ${wanted}`);
  if (shape.length > MAX_RANK) throw refuse(`has ${shape.length} dimensions; ${MAX_RANK} are the most`);
  if (shape.some((dimension) => !Number.isSafeInteger(dimension) || dimension < 0))
    throw refuse(`has shape [${shape.join(', ')}]; dimensions are whole numbers from 0`);
  const fits =
    spec.shape.length === 0 ||
    (shape.length === spec.shape.length &&
      spec.shape.every((dimension, at) => dimension === -1 || dimension === shape[at]));
  if (!fits) throw refuse(`is ${given}, but the model takes ${wanted}`);
  const elements = shape.reduce((product, dimension) => product * dimension, 1);
  if (dataType === 'BYTES') {
    // Each element has 4 bytes of length, so more elements than that are not counted through.
    const end = elements * 4 <= data.byteLength ? offsetOfElement(data, elements) : undefined;
    if (end !== data.byteLength)
      throw refuse(
        `has ${data.byteLength} bytes, which are not the ${elements} length-prefixed elements of ${given}`,
      );
    checkStrings(data, (index, why) => `${owner}: element ${index} of input ${spec.name} ${why}.`);
  } else if (data.byteLength !== elements * elementBytes[dataType]) {
    throw refuse(`has ${data.byteLength} bytes, but ${given} takes ${elements * elementBytes[dataType]}`);
  }
}

/** What onnxruntime-node does not carry: there the model would fail, or answer for a part of the string. */
function checkStrings(data: Uint8Array, message: (index: number, why: string) => string): void {
  for (const [index, element] of elementsOf(data).entries()) {
    if (!isUtf8(element)) throw new ServingError('INVALID_INPUT', message(index, 'is not UTF-8'));
    if (element.includes(0))
      throw new ServingError(
        'INVALID_INPUT',
        message(index, 'holds a NUL, at which the runtime would cut it'),
      );
  }
}

function rowsOf(inputs: readonly RawTensor[], { owner, maxRows }: CheckOptions): number {
  const [first] = inputs;
  if (first === undefined) return 1;
  const rows = first.shape[0];
  if (rows === undefined) throw mismatch(owner, `input ${first.name} has no batch dimension; it comes first`);
  const other = inputs.find((input) => input.shape[0] !== rows);
  if (other !== undefined) {
    throw mismatch(
      owner,
      `input ${other.name} has ${other.shape[0] ?? 'no'} rows, but ${first.name} has ${rows}; all inputs share the batch dimension`,
    );
  }
  if (rows === 0) throw mismatch(owner, `input ${first.name} has no rows; a request has at least one`);
  if (rows > maxRows) {
    throw new ServingError(
      'BATCH_TOO_LARGE',
      `${owner}: the request has ${rows} rows, more than the ${maxRows} of max_batch_size. Split it.`,
    );
  }
  return rows;
}

function matchOutputs(
  specs: readonly TensorSpec[],
  wanted: readonly string[],
  owner: string,
): readonly TensorSpec[] {
  if (wanted.length === 0) return specs;
  if (new Set(wanted).size < wanted.length)
    throw new ServingError('INVALID_INPUT', `${owner}: an output is asked for twice: ${wanted.join(', ')}.`);
  return wanted.map((name) => {
    const spec = specs.find((candidate) => candidate.name === name);
    if (spec !== undefined) return spec;
    const list = specs.map((candidate) => candidate.name).join(', ');
    throw new ServingError('INVALID_INPUT', `${owner}: there is no output ${name}; its outputs are ${list}.`);
  });
}

function describe({ dataType, shape }: Pick<TensorSpec, 'dataType' | 'shape'>): string {
  return `${dataType} [${shape.join(', ')}]`;
}
