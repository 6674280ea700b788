import type { InferenceSession } from 'onnxruntime-node';
import type { TensorSpec } from '../types.ts';
import { PACKING_INPUTS } from './graph/packing.ts';
import { dataTypeOf } from './tensor-codec.ts';

const ADDED: readonly string[] = Object.values(PACKING_INPUTS);

/**
 * The inputs and outputs that a model declares; those that rewriting has added are not told.
 * @throws Error for an input that can't be sent, or an output of a type that can't be
 */
export function declaredTensors(session: InferenceSession): { inputs: TensorSpec[]; outputs: TensorSpec[] } {
  const declared = session.inputMetadata.filter(({ name }) => !ADDED.includes(name));
  // What is no tensor (a sequence, a map) can't be asked for, but does not keep the others from being served.
  const tensors = session.outputMetadata.filter((entry) => entry.isTensor);
  return {
    inputs: declared.map((entry) => specOf(entry, 'input')),
    outputs: tensors.map((entry) => specOf(entry, 'output')),
  };
}

function specOf(entry: InferenceSession.ValueMetadata, what: 'input' | 'output'): TensorSpec {
  const { name } = entry;
  if (!entry.isTensor) throw new Error(`${what} ${name} is no tensor`);
  const dataType = dataTypeOf(entry.type);
  if (dataType === undefined) throw new Error(`${what} ${name} is ${entry.type}, which has no wire type`);
  return {
    name,
    dataType,
    shape: entry.shape.map((dimension) => (typeof dimension === 'number' ? dimension : -1)),
  };
}
