import type { TensorSpec, TextHead } from '../types.ts';

const PREFERRED_OUTPUTS = ['last_hidden_state', 'token_embeddings', 'logits', 'sentence_embedding'];

/** The inputs that texts are served through. */
const TEXT_INPUTS: readonly string[] = ['input_ids', 'attention_mask', 'token_type_ids'];

/**
 * The output that texts are served from.
 * @param wanted its name where the model's configuration says it, else the first of the usual ones
 * @throws Error when the model is no text encoder, or has no such output
 */
export function findTextHead(
  inputs: readonly TensorSpec[],
  outputs: readonly TensorSpec[],
  wanted?: string,
): Omit<TextHead, 'packed' | 'whyPadded'> {
  checkInputs(inputs);
  const names = outputs.map((output) => output.name);
  const name = headName(names, wanted);
  const output = outputs.find((candidate) => candidate.name === name);
  if (output === undefined) {
    const had = names.join(', ');
    throw new Error(
      wanted === undefined
        ? `none of its outputs (${had}) is one of ${PREFERRED_OUTPUTS.join(', ')}`
        : `it has no output ${wanted}; its outputs are ${had}`,
    );
  }
  const width = output.shape.at(-1);
  if (width === undefined || width <= 0)
    throw new Error(`the last dimension of output ${output.name} is not fixed; it must be a number`);
  const isClassifier = output.name === 'logits';
  return {
    output: output.name,
    dimension: isClassifier ? 0 : width,
    labels: isClassifier ? width : 0,
    perToken: output.shape.length === 3,
  };
}

/** Of all outputs the one that texts are served from; undefined when there is none. */
export function headName(outputs: readonly string[], wanted?: string): string | undefined {
  const candidates = wanted === undefined ? PREFERRED_OUTPUTS : [wanted];
  return candidates.find((candidate) => outputs.includes(candidate));
}

function checkInputs(inputs: readonly TensorSpec[]): void {
  const names = inputs.map((input) => input.name);
  const strangers = names.filter((name) => !TEXT_INPUTS.includes(name));
  if (!names.includes('input_ids') || strangers.length > 0) {
    throw new Error(
      `its inputs are ${names.join(', ')}; a text encoder takes input_ids and, optionally, attention_mask and token_type_ids`,
    );
  }
  const other = inputs.find((input) => input.dataType !== 'INT64');
  if (other !== undefined) throw new Error(`input ${other.name} is ${other.dataType}; only INT64 is fed`);
}
