import type { TensorSpec } from '../../types.ts';
import type { ServedTensors } from './declared-tensors.ts';
import type { HubFacts, Sourced } from './hub-files.ts';

/** What a model is for, and from which output its texts are served (undefined for raw tensors). */
export interface TextTask {
  task: Sourced<'embed' | 'rerank' | 'tensors'>;
  outputName: Sourced<string> | undefined;
  /** Why texts are not served where one could expect it. */
  warnings: string[];
}

const PREFERRED_OUTPUTS = ['last_hidden_state', 'token_embeddings', 'logits', 'sentence_embedding'];
const KNOWN_INPUTS = ['input_ids', 'attention_mask', 'token_type_ids'];

/** Derives the task from the tensors of a model and the hub files beside it. `modelFile` is its name, for the source. */
export function deriveTask(tensors: ServedTensors, hub: HubFacts, modelFile: string): TextTask {
  const isText = hub.hasTokenizer || hub.isTextModel;
  const rawTensors = (why: string): TextTask => ({
    task: { value: 'tensors', source: hub.hasTokenizer ? modelFile : 'no tokenizer.json' },
    outputName: undefined,
    warnings: isText ? [`served for raw tensors only: ${why}`] : [],
  });
  // A text model that lacks its tokenizer goes on as one, so that loading tells what is missing.
  if (!isText) return rawTensors('it has no tokenizer.json');
  const strangeInput = inputProblem(tensors.inputs);
  if (strangeInput !== undefined) return rawTensors(strangeInput);
  const output = chooseOutput(tensors.outputs, hub.isClassifier?.value);
  if (typeof output === 'string') return rawTensors(output);
  const isClassifier = output.name === 'logits';
  const source = hub.isClassifier?.value === isClassifier ? hub.isClassifier.source : modelFile;
  return {
    task: { value: isClassifier ? 'rerank' : 'embed', source },
    outputName: { value: output.name, source: modelFile },
    warnings: [],
  };
}

function inputProblem(inputs: readonly TensorSpec[]): string | undefined {
  const names = inputs.map((input) => input.name);
  if (!names.includes('input_ids') || names.some((name) => !KNOWN_INPUTS.includes(name)))
    return `its inputs are ${names.join(', ')}; a text encoder takes input_ids and, optionally, attention_mask and token_type_ids`;
  const odd = inputs.find(
    ({ dataType, shape }) => dataType !== 'INT64' || shape.length !== 2 || shape[1] !== -1,
  );
  if (odd === undefined) return undefined;
  return `its input ${odd.name} is ${odd.dataType} [${odd.shape}]; a text encoder's is INT64 [batch, any length]`;
}

/** The output that texts are served from, or why there is none. */
function chooseOutput(
  outputs: readonly TensorSpec[],
  isClassifier: boolean | undefined,
): TensorSpec | string {
  const wanted = isClassifier ? ['logits'] : PREFERRED_OUTPUTS;
  const name = wanted.find((candidate) => outputs.some((output) => output.name === candidate));
  const output = outputs.find((candidate) => candidate.name === name);
  if (output === undefined)
    return `none of its outputs (${outputs.map(({ name }) => name).join(', ')}) is one of ${wanted.join(', ')}`;
  const is = `its output ${output.name} is ${output.dataType} [${output.shape}]`;
  const last = output.shape.at(-1) ?? -1;
  if (output.dataType !== 'FP32' && output.dataType !== 'FP16') return `${is}; only FP32 and FP16 are read`;
  if (output.name === 'logits') {
    const isScore = output.shape.length === 2 && last === 1 && isClassifier !== false;
    return isScore ? output : `${is}; a cross-encoder's is [batch, 1]`;
  }
  const ranks = output.name === 'sentence_embedding' ? [2] : [2, 3];
  if (!ranks.includes(output.shape.length) || last < 1) return `${is}; its last dimension must be fixed`;
  return output;
}
