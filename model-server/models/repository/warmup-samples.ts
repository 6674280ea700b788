import type { DataType, TensorSpec } from '../../types.ts';
import type { TritonMessage } from './triton-schema.ts';

/** One request of raw tensors that each instance runs before it is ready. */
export interface WarmupSample {
  name: string;
  /** Times that the values are repeated along the batch dimension; 1 for models without one. */
  batchSize: number;
  /** Times that it is run; at least 1. */
  count: number;
  inputs: WarmupInput[];
}

export interface WarmupInput {
  name: string;
  dataType: DataType;
  /** Without the batch dimension. */
  dims: number[];
  /** `zero` (empty strings for BYTES), `random`, or the name of a file in the model's folder warmup/. */
  source: string;
}

/** The warm-up samples of a configuration; what is wrong with them goes to `problems`. */
export function readWarmup(
  message: TritonMessage,
  found: { inputs: readonly TensorSpec[]; batched: boolean; problems: string[] },
): WarmupSample[] {
  const samples: WarmupSample[] = [];
  for (const given of message.model_warmup) {
    const inputs = given.inputs.map(({ key, value }) => toInput(key, value));
    const subject = `model_warmup "${given.name}"`;
    found.problems.push(...sampleProblems(inputs, found.inputs).map((what) => `${subject}: ${what}`));
    if (given.batch_size > 1 && !found.batched)
      found.problems.push(
        `${subject}: batch_size is ${given.batch_size}, but the model has no batch dimension`,
      );
    if (message.max_batch_size && given.batch_size > message.max_batch_size)
      found.problems.push(
        `${subject}: batch_size is ${given.batch_size}, but max_batch_size ${message.max_batch_size}`,
      );
    samples.push({ name: given.name, batchSize: given.batch_size, count: given.count || 1, inputs });
  }
  return samples;
}

type GivenInput = TritonMessage['model_warmup'][number]['inputs'][number]['value'];

function toInput(name: string, given: GivenInput): WarmupInput {
  const dataType = (given.data_type === 'TYPE_STRING' ? 'BYTES' : given.data_type.slice(5)) as DataType;
  // Triton has no random strings either.
  const generated = given.random_data !== undefined && dataType !== 'BYTES' ? 'random' : 'zero';
  return {
    name,
    dataType,
    dims: given.dims,
    source: given.input_data_file ?? generated,
  };
}

function sampleProblems(inputs: WarmupInput[], served: readonly TensorSpec[]): string[] {
  const problems: string[] = [];
  const missing = served.filter((spec) => !inputs.some((input) => input.name === spec.name));
  if (missing.length > 0) problems.push(`has no input ${missing.map((spec) => spec.name).join(', ')}`);
  for (const { name, dataType } of inputs) {
    const spec = served.find((candidate) => candidate.name === name);
    if (spec === undefined) problems.push(`the model has no input "${name}"`);
    else if (spec.dataType !== dataType)
      problems.push(`input "${name}" is ${dataType}, but the model takes ${spec.dataType}`);
  }
  return problems;
}
