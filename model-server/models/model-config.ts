import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { ServingError } from '../errors.ts';
import type { Pooling } from '../types.ts';
import { parseTextProto } from './text-proto.ts';

/** A field that stands once or many times in the text format, as a list. */
const list = <T extends z.ZodType>(item: T) =>
  z.preprocess((value) => (value === undefined ? [] : Array.isArray(value) ? value : [value]), z.array(item));

const tensor = z.strictObject({ name: z.string(), data_type: z.string(), dims: list(z.int()) });

/**
 * The fields of Triton's config.pbtxt that are honoured. (`input` and `output` may stand there, as Triton writes them; what
 * counts is what the model file itself declares.) All others are refused by name: a setting that is silently
 * ignored is worse than an error.
 */
const fileSchema = z.strictObject({
  name: z.string().optional(),
  platform: z.literal('onnxruntime_onnx').optional(),
  backend: z.literal('onnxruntime').optional(),
  max_batch_size: z.int().min(1).optional(),
  input: list(tensor),
  output: list(tensor),
  version_policy: z
    .strictObject({ latest: z.strictObject({ num_versions: z.literal(1).optional() }) })
    .optional(),
  dynamic_batching: z
    .strictObject({
      max_queue_delay_microseconds: z.int().min(0).optional(),
      default_queue_policy: z.strictObject({ max_queue_size: z.int().min(1).optional() }).optional(),
    })
    .optional(),
  instance_group: list(
    z.strictObject({ count: z.int().min(1).optional(), kind: z.enum(['KIND_AUTO', 'KIND_CPU']).optional() }),
  ).refine((groups) => groups.length <= 1, 'only one instance group is supported'),
  parameters: list(
    z.strictObject({
      key: z.enum(['intra_op_thread_count']),
      value: z.strictObject({ string_value: z.string().regex(/^[1-9]\d*$/, 'must be a positive number') }),
    }),
  ),
});

/** What a model version does and how it is run, from config.pbtxt and the Hugging Face files beside it. */
export interface ModelConfig {
  task: 'embed' | 'rerank';
  maxTokens: number;
  pooling: Pooling;
  normalize: boolean;
  /** Undefined: the server's default. */
  maxBatchItems: number | undefined;
  maxQueueItems: number | undefined;
  queueDelayUs: number;
  instances: number | undefined;
  intraOpThreads: number | undefined;
}

/**
 * Reads the configuration of a model from its folder.
 * @throws ServingError MODEL_CONFIG_INVALID naming the file, the field and what is allowed
 */
export function readModelConfig(name: string, folder: string): ModelConfig {
  const file = readConfigFile(name, folder);
  const hub = readHubFiles(folder);
  const threads = file.parameters.find((parameter) => parameter.key === 'intra_op_thread_count');
  return {
    ...hub,
    maxBatchItems: file.max_batch_size,
    maxQueueItems: file.dynamic_batching?.default_queue_policy?.max_queue_size,
    queueDelayUs: file.dynamic_batching?.max_queue_delay_microseconds ?? 0,
    instances: file.instance_group[0]?.count,
    intraOpThreads: threads === undefined ? undefined : Number(threads.value.string_value),
  };
}

function readConfigFile(name: string, folder: string): z.infer<typeof fileSchema> {
  const path = join(folder, 'config.pbtxt');
  const invalid = (what: string) => new ServingError('MODEL_CONFIG_INVALID', `${path}: ${what}`);
  let message: unknown = {};
  try {
    if (existsSync(path)) message = parseTextProto(readFileSync(path, 'utf8'));
  } catch (error) {
    throw invalid((error as Error).message);
  }
  const parsed = fileSchema.safeParse(message);
  if (!parsed.success) {
    throw invalid(
      parsed.error.issues
        .map((issue) => `${issue.path.join('.') || 'top level'}: ${issue.message}`)
        .join('; '),
    );
  }
  if (parsed.data.name !== undefined && parsed.data.name !== name) {
    throw invalid(`name is "${parsed.data.name}", but the folder is called "${name}"; they must be the same`);
  }
  return parsed.data;
}

const hubConfig = z.object({
  architectures: z.array(z.string()).optional(),
  max_position_embeddings: z.int().positive().optional(),
});
const POOLING_MODES: Record<string, Pooling> = {
  pooling_mode_cls_token: 'cls',
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_max_tokens: 'max',
};
/** Another pooling, or several at once, would give other vectors than the model's own; better none than wrong ones. */
const poolingConfig = z
  .record(z.string(), z.unknown())
  .transform((config) =>
    Object.keys(config).filter((key) => key.startsWith('pooling_mode_') && config[key] === true),
  )
  .refine((modes) => modes.length <= 1, {
    error: (issue) => `several poolings at once are not supported: ${String(issue.input)}`,
  })
  .refine((modes) => modes.every((mode) => mode in POOLING_MODES), {
    error: (issue) =>
      `this pooling is not supported: ${String(issue.input)}; there are ${Object.keys(POOLING_MODES).join(', ')}`,
  })
  .transform((modes): Pooling => POOLING_MODES[modes[0] ?? ''] ?? 'mean');
const sentenceConfig = z.object({ max_seq_length: z.int().positive().nullish() });
const tokenizerConfig = z.object({ model_max_length: z.number().positive().optional() });
const modules = z.array(
  z.object({
    type: z
      .string()
      .regex(/\.(Transformer|Pooling|Normalize)$/, 'only Transformer, Pooling and Normalize are supported'),
    path: z.string(),
  }),
);

/** Task, pooling, length and normalisation, from the files that sentence-transformers and transformers write. */
function readHubFiles(folder: string): Pick<ModelConfig, 'task' | 'maxTokens' | 'pooling' | 'normalize'> {
  const config = readJson(folder, 'config.json', hubConfig) ?? {};
  const sentence = readJson(folder, 'sentence_bert_config.json', sentenceConfig);
  const tokenizer = readJson(folder, 'tokenizer_config.json', tokenizerConfig);
  const steps = readJson(folder, 'modules.json', modules) ?? [];
  const poolingStep = steps.find((step) => step.type.endsWith('.Pooling'));
  const pooling = readJson(join(folder, poolingStep?.path ?? '1_Pooling'), 'config.json', poolingConfig);
  const isClassifier =
    config.architectures?.some((name) => name.endsWith('ForSequenceClassification')) ?? false;
  // A tokenizer without a limit writes 1e30; the number of position embeddings is then the limit.
  const limits = [sentence?.max_seq_length, tokenizer?.model_max_length, config.max_position_embeddings];
  return {
    task: isClassifier ? 'rerank' : 'embed',
    maxTokens: Math.min(...limits.filter((limit) => limit != null), 8192),
    pooling: pooling ?? 'mean',
    // Without modules.json it is not a sentence-transformers model; unit length is what callers of Embed expect.
    normalize: steps.length === 0 || steps.some((step) => step.type.endsWith('.Normalize')),
  };
}

function readJson<T extends z.ZodType>(folder: string, name: string, schema: T): z.infer<T> | undefined {
  const path = join(folder, name);
  if (!existsSync(path)) return undefined;
  try {
    return schema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    const what = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
    throw new ServingError('MODEL_CONFIG_INVALID', `${path}: ${what}`);
  }
}
