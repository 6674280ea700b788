import { readFile, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { ServingError } from '../../errors.ts';
import type { Pooling } from '../../types.ts';
import { isMissing } from './missing.ts';
import { isHubConfig } from './triton-config.ts';

/** A value and where it was found, in the words of `SourcedValue`. */
export interface Sourced<Value> {
  value: Value;
  source: string;
}

/** What an image model wants its pictures to be. */
export interface ImageInput {
  /** Pixels. */
  height: number;
  width: number;
  /** Per channel, of values between 0 and 1. */
  mean: number[];
  std: number[];
}

/** Texts that go before the user's, by name, and the one that is meant when none is named. */
export interface Prompts {
  byName: Readonly<Record<string, string>>;
  defaultName: string | undefined;
}

/** What the files that sentence-transformers and transformers write say of a model. */
export interface HubFacts {
  hasTokenizer: boolean;
  /** Whether any of these files is there, so that a missing tokenizer is an error and not a model of raw tensors. */
  isTextModel: boolean;
  /** Undefined when config.json names no architecture. */
  isClassifier: Sourced<boolean> | undefined;
  /** How wide the states are; decides what a forward pass takes. */
  hidden: { size: number; heads: number | undefined } | undefined;
  maxTokens: Sourced<number>;
  pooling: Sourced<Pooling>;
  normalize: Sourced<boolean>;
  prompts: Sourced<Prompts> | undefined;
  image: Sourced<ImageInput> | undefined;
}

/** The folders in which a version's files are looked for. */
export interface HubPlace {
  folder: string;
  versionFolder: string;
  version: number;
}

/** What texts are cut to when nothing says otherwise. */
const DEFAULT_MAX_TOKENS = 8192;
const LARGEST_FILE_BYTES = 16 * 1024 * 1024;

const hubConfig = z.object({
  architectures: z.array(z.string()).nullish(),
  max_position_embeddings: z.int().positive().nullish(),
  hidden_size: z.int().positive().nullish(),
  num_attention_heads: z.int().positive().nullish(),
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
  });
const sentenceConfig = z.object({ max_seq_length: z.int().positive().nullish() });
const tokenizerConfig = z.object({ model_max_length: z.number().positive().nullish() });
const modules = z.array(
  z.object({
    type: z
      .string()
      .regex(/\.(Transformer|Pooling|Normalize)$/, 'only Transformer, Pooling and Normalize are supported'),
    path: z
      .string()
      .refine(
        (path) => !isAbsolute(path) && !path.split(/[/\\]/).includes('..'),
        'must lie in the model folder',
      ),
  }),
);
const promptConfig = z.object({
  prompts: z.record(z.string(), z.string()).nullish(),
  default_prompt_name: z.string().nullish(),
});
const side = z.int().positive();
const pictureSize = z.union([
  side.transform((length) => ({ height: length, width: length })),
  z.object({ height: side, width: side }),
  z
    .object({ shortest_edge: side })
    .transform((size) => ({ height: size.shortest_edge, width: size.shortest_edge })),
]);
const channels = z.array(z.number()).min(1).max(4);
const imageConfig = z.object({
  size: pictureSize.nullish(),
  crop_size: pictureSize.nullish(),
  image_mean: channels.nullish(),
  image_std: channels.nullish(),
});

/**
 * Task, pooling, length, normalisation, prompts and image size of a version. Each file is looked for in the version folder
 * first, then in the model folder.
 * @throws ServingError MODEL_CONFIG_INVALID naming the file and the field
 */
export async function readHubFacts(place: HubPlace): Promise<HubFacts> {
  const config = await readJson(place, 'config.json', hubConfig);
  const sentence = await readJson(place, 'sentence_bert_config.json', sentenceConfig);
  const tokenizer = await readJson(place, 'tokenizer_config.json', tokenizerConfig);
  const steps = await readJson(place, 'modules.json', modules);
  const poolingStep = steps?.value.find((step) => step.type.endsWith('.Pooling'));
  const poolingFile = join(poolingStep?.path ?? '1_Pooling', 'config.json');
  const pooling = await readJson(place, poolingFile, poolingConfig);
  const architectures = config?.value.architectures;
  return {
    hasTokenizer: (await find(place, 'tokenizer.json')) !== undefined,
    isTextModel: [config, sentence, tokenizer, steps, pooling].some((file) => file !== undefined),
    hidden: hiddenOf(config?.value),
    isClassifier: architectures
      ? {
          value: architectures.some((name) => name.endsWith('ForSequenceClassification')),
          source: `${config!.source} architectures`,
        }
      : undefined,
    maxTokens: shortest([
      at(sentence, 'max_seq_length'),
      at(tokenizer, 'model_max_length'),
      at(config, 'max_position_embeddings'),
    ]),
    pooling: choosePooling(pooling),
    normalize: chooseNormalize(steps),
    prompts: await readPrompts(place),
    image: await readImage(place),
  };
}

function hiddenOf(config: z.infer<typeof hubConfig> | undefined): HubFacts['hidden'] {
  if (config?.hidden_size == null) return undefined;
  return { size: config.hidden_size, heads: config.num_attention_heads ?? undefined };
}

function at<Key extends string>(
  file: Sourced<{ [key in Key]?: number | null | undefined }> | undefined,
  key: Key,
): Sourced<number> | undefined {
  const value = file?.value[key];
  return value == null ? undefined : { value, source: `${file!.source} ${key}` };
}

/** A tokenizer without a limit writes 1e30; the number of position embeddings is then the limit. */
function shortest(limits: (Sourced<number> | undefined)[]): Sourced<number> {
  const unset = { value: DEFAULT_MAX_TOKENS, source: 'default' };
  return limits.reduce<Sourced<number>>(
    (least, limit) => (limit !== undefined && limit.value < least.value ? limit : least),
    unset,
  );
}

function choosePooling(file: Sourced<string[]> | undefined): Sourced<Pooling> {
  const mode = file?.value[0];
  if (file === undefined || mode === undefined) return { value: 'mean', source: 'default' };
  return { value: POOLING_MODES[mode]!, source: `${file.source} ${mode}` };
}

/** Without modules.json it is not a sentence-transformers model; unit length is what callers of Embed expect. */
function chooseNormalize(steps: Sourced<{ type: string }[]> | undefined): Sourced<boolean> {
  if (steps === undefined || steps.value.length === 0) return { value: true, source: 'default' };
  const value = steps.value.some((step) => step.type.endsWith('.Normalize'));
  return { value, source: `${steps.source} type` };
}

async function readPrompts(place: HubPlace): Promise<Sourced<Prompts> | undefined> {
  const file = await readJson(place, 'config_sentence_transformers.json', promptConfig);
  const byName = file?.value.prompts ?? {};
  if (file === undefined || Object.keys(byName).length === 0) return undefined;
  const defaultName = file.value.default_prompt_name ?? undefined;
  if (defaultName !== undefined && !Object.hasOwn(byName, defaultName))
    throw invalid(file.source, `default_prompt_name is "${defaultName}", which is none of its prompts`);
  return { value: { byName, defaultName }, source: `${file.source} prompts` };
}

async function readImage(place: HubPlace): Promise<Sourced<ImageInput> | undefined> {
  const file = await readJson(place, 'preprocessor_config.json', imageConfig);
  const size = file?.value.crop_size ?? file?.value.size;
  if (file === undefined || size == null) return undefined;
  const { image_mean: mean, image_std: std } = file.value;
  const field = file.value.crop_size == null ? 'size' : 'crop_size';
  return { value: { ...size, mean: mean ?? [], std: std ?? [] }, source: `${file.source} ${field}` };
}

/** A file of a version: its path, and its name as it is told, with the version's number when it is the version's own. */
async function find(place: HubPlace, name: string): Promise<{ path: string; told: string } | undefined> {
  const candidates = [
    { path: join(place.versionFolder, name), told: `${place.version}/${name}` },
    { path: join(place.folder, name), told: name },
  ];
  for (const candidate of candidates) {
    try {
      const stats = await stat(candidate.path);
      if (!stats.isFile()) throw invalid(candidate.path, 'is no file');
      const { size } = stats;
      if (size > LARGEST_FILE_BYTES && name !== 'tokenizer.json')
        throw invalid(candidate.path, `has ${size} bytes; ${LARGEST_FILE_BYTES} at most are read`);
      return candidate;
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
  return undefined;
}

async function readJson<Schema extends z.ZodType>(
  place: HubPlace,
  name: string,
  schema: Schema,
): Promise<Sourced<z.infer<Schema>> | undefined> {
  const file = await find(place, name);
  if (file === undefined) return undefined;
  try {
    const contents: unknown = JSON.parse((await readFile(file.path, 'utf8')).replace(/^\ufeff/, ''));
    // Triton's configuration may have the same name.
    if (file.told === 'config.json' && !isHubConfig(contents)) return undefined;
    return { value: schema.parse(contents), source: file.told };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw invalid(file.path, error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message);
  }
}

const invalid = (where: string, what: string) =>
  new ServingError('MODEL_CONFIG_INVALID', `${where}: ${what}`);
