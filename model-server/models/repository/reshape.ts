import { ServingError } from '../../errors.ts';
import type { RawTensor } from '../../types.ts';

/**
 * A tensor that callers and the model see in different shapes of equally many elements. Both hold the batch dimension, if
 * there is one; -1 stands for any length, and the nth -1 of one is the nth of the other.
 */
export interface Reshape {
  /** What callers send or get. */
  outside: number[];
  /** What the model takes or gives. */
  inside: number[];
}

/** By the name of the input or output. */
export type Reshapes = ReadonlyMap<string, Reshape>;

/**
 * Inputs of a request in the shapes that the model takes; their values stay where they are.
 * @throws ServingError SHAPE_MISMATCH naming the input and both shapes
 */
export function reshapeInputs(inputs: readonly RawTensor[], reshapes: Reshapes): RawTensor[] {
  return inputs.map((tensor) => {
    const reshape = reshapes.get(tensor.name);
    if (reshape === undefined) return tensor;
    const shape = translate(tensor.shape, reshape.outside, reshape.inside);
    if (shape !== undefined) return { ...tensor, shape };
    throw new ServingError(
      'SHAPE_MISMATCH',
      `input "${tensor.name}" is [${tensor.shape.join(', ')}], but must be [${reshape.outside.join(', ')}]`,
    );
  });
}

/** Outputs of the model in the shapes that callers get; one of an unforeseen shape stays as it is. */
export function reshapeOutputs(outputs: readonly RawTensor[], reshapes: Reshapes): RawTensor[] {
  return outputs.map((tensor) => {
    const reshape = reshapes.get(tensor.name);
    const shape = reshape && translate(tensor.shape, reshape.inside, reshape.outside);
    return shape === undefined ? tensor : { ...tensor, shape };
  });
}

/** `shape`, which is of the form `from`, in the form `to`; undefined when it is not. */
function translate(shape: readonly number[], from: number[], to: number[]): number[] | undefined {
  if (shape.length !== from.length) return undefined;
  if (from.some((length, index) => length !== -1 && length !== shape[index])) return undefined;
  const free = shape.filter((_, index) => from[index] === -1);
  return to.map((length) => (length === -1 ? free.shift()! : length));
}
