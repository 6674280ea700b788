import { basename } from 'node:path';
import { ServingError } from '../../errors.ts';
import type { Pooling, TensorSpec } from '../../types.ts';
import type { SourcedValue } from '../reports.ts';
import { type ServedTensors, serveTensors } from './declared-tensors.ts';
import { type HubFacts, type ImageInput, type Prompts, readHubFacts } from './hub-files.ts';
import { readOfVersion } from './missing.ts';
import { type OnnxFile, readOnnxFile } from './onnx-file.ts';
import { Origins } from './origins.ts';
import { type Parameters, readParameters } from './parameters.ts';
import { type QueueOptions, readQueueOptions } from './queue-options.ts';
import type { Reshapes } from './reshape.ts';
import { type RunOptions, readRunOptions } from './run-options.ts';
import { deriveTask } from './text-task.ts';
import { policyOf, readTritonConfig } from './triton-config.ts';
import type { TritonMessage } from './triton-schema.ts';
import type { VersionFiles } from './version-files.ts';
import { policyText, type VersionPolicy } from './version-policy.ts';
import { readWarmup, type WarmupSample } from './warmup-samples.ts';

/** What a model version does and how it is run. */
export interface ModelConfig extends QueueOptions, RunOptions {
  /** tensors: no texts, only raw tensors. */
  task: 'embed' | 'rerank' | 'tensors';
  /** The output that texts are served from; undefined for raw tensors. */
  outputName: string | undefined;
  maxTokens: number;
  pooling: Pooling;
  normalize: boolean;
  /** Recorded for callers that name a prompt; none is put before texts by itself. */
  prompts: Prompts | undefined;
  /** What an image model wants its pictures to be. */
  image: ImageInput | undefined;
  /** Width and attention heads of the model's states, where the hub files tell; memory is predicted from them. */
  hidden: HubFacts['hidden'];

  /** As callers see them, batch dimension included. */
  inputs: TensorSpec[];
  outputs: TensorSpec[];
  /** Inputs and outputs whose shape differs between callers and model. */
  reshapes: Reshapes;
  /** Whether requests can be joined along the first dimension. */
  batched: boolean;
  /** Undefined: the server's default; 1 for models that are not batched. */
  maxBatchItems: number | undefined;
  warmup: WarmupSample[];
  versionPolicy: VersionPolicy;
}

/** A configuration with the origin of each value. */
export interface EffectiveConfig {
  config: ModelConfig;
  origins: SourcedValue[];
  /** What holds, but is worth knowing. */
  warnings: string[];
  onnx: OnnxFile;
}

/**
 * Reads the configuration of a version from its model file, config.pbtxt and the hub files beside it; none but the model
 * file has to be there. `override` is a Triton configuration in JSON that stands in for the file.
 * @throws ServingError MODEL_CONFIG_INVALID with all that is wrong; MODEL_LOAD_FAILED when the model file is torn or gone
 */
export async function readModelConfig(files: VersionFiles, override?: string): Promise<EffectiveConfig> {
  const { message, source } = await readTritonConfig(files, override);
  const onnx = await readOfVersion(files, () => readOnnxFile(files.modelFile));
  if (!onnx.complete) throw new ServingError('MODEL_LOAD_FAILED', `${files.modelFile} is ${onnx.why}`);
  const hub = await readHubFacts(files);
  const parameters = readParameters(message);
  const tensors = serveTensors(message, source, onnx);
  const problems = [...parameters.problems, ...tensors.problems];
  const warmup = readWarmup(message, {
    inputs: tensors.inputs,
    batched: tensors.batched,
    problems,
  });
  if (problems.length > 0) {
    const owner = `model ${files.name} version ${files.version}`;
    throw new ServingError('MODEL_CONFIG_INVALID', `${owner}: ${problems.join('; ')}`);
  }
  const origins = new Origins(source);
  const modelFile = basename(files.modelFile);
  const text = textPart({ hub, tensors, modelFile }, parameters.values, origins);
  const config: ModelConfig = {
    ...text.part,
    ...tensorPart(message, tensors, { origins, modelFile }),
    ...readQueueOptions(message, origins),
    ...readRunOptions(message, parameters.values, origins),
    warmup,
    versionPolicy: policyOf(message),
  };
  if (warmup.length > 0) origins.fromFile('model_warmup', warmup.map((sample) => sample.name).join(', '), '');
  origins.fromFile('version_policy', message.version_policy && policyText(config.versionPolicy), 'latest 1');
  const labels = message.output.filter((output) => output.label_filename).map((output) => output.name);
  const unread = labels.map(
    (name) => `output ${name}: its label_filename is not used, for outputs travel as numbers`,
  );
  return {
    config,
    origins: origins.all,
    warnings: [...text.warnings, ...parameters.warnings, ...unread],
    onnx,
  };
}

interface TextFacts {
  hub: HubFacts;
  tensors: ServedTensors;
  modelFile: string;
}

function textPart({ hub, tensors, modelFile }: TextFacts, values: Parameters, origins: Origins) {
  const { task, outputName, warnings } = deriveTask(tensors, hub, modelFile);
  const part = {
    task: origins.sourced('task', task),
    outputName: outputName && origins.sourced('output_name', outputName),
    maxTokens: values.maxTokens ?? hub.maxTokens.value,
    pooling: values.pooling ?? hub.pooling.value,
    normalize: values.normalize ?? hub.normalize.value,
    prompts: hub.prompts?.value,
    image: hub.image?.value,
    hidden: hub.hidden,
  };
  if (part.task !== 'tensors') {
    origins.parameterOr('max_tokens', values.maxTokens, hub.maxTokens);
    if (part.task === 'embed') {
      origins.parameterOr('pooling', values.pooling, hub.pooling);
      origins.parameterOr('normalize', values.normalize, hub.normalize);
    }
  }
  if (hub.prompts !== undefined) origins.sourced('prompts', hub.prompts);
  const defaultName = hub.prompts?.value.defaultName;
  if (defaultName !== undefined && hub.prompts?.value.byName[defaultName] !== '')
    warnings.push(
      `the default prompt "${defaultName}" is not put before texts; callers that want it send it`,
    );
  if (hub.image !== undefined) origins.sourced('image', hub.image);
  return { part, warnings };
}

function tensorPart(
  message: TritonMessage,
  { inputs, outputs, reshapes, batched }: ServedTensors,
  { origins, modelFile }: { origins: Origins; modelFile: string },
) {
  const specs = (tensors: TensorSpec[]) =>
    tensors.map(({ name, dataType, shape }) => `${name} ${dataType} [${shape}]`).join(', ');
  for (const [field, tensors] of [
    ['input', inputs],
    ['output', outputs],
  ] as const) {
    if (message[field].length > 0) origins.fromFile(field, specs(tensors), '');
    else origins.sourced(field, { value: specs(tensors), source: modelFile });
  }
  const most = message.max_batch_size;
  if (most === undefined && !batched) origins.sourced('max_batch_size', { value: '0', source: modelFile });
  else origins.orServer('max_batch_size', most);
  return { inputs, outputs, reshapes, batched, maxBatchItems: batched ? most : 1 };
}
