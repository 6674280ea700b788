import { readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { z } from 'zod';
import { ServingError } from '../../errors.ts';
import { isMissing } from './missing.ts';
import { parseTextProto } from './text-proto.ts';
import { fromProtobufJson } from './triton-json.ts';
import { type TritonMessage, tritonSchema } from './triton-schema.ts';
import { DEFAULT_POLICY, type VersionPolicy } from './version-policy.ts';

/** Triton's configuration of a model, and where it was read. */
export interface TritonConfig {
  message: TritonMessage;
  /** `config.pbtxt`, `config.json`, `load request`, or empty when there is none. */
  source: string;
}

export interface TritonConfigPlace {
  /** Of the model. */
  name: string;
  /** The model's folder. */
  folder: string;
}

const LARGEST_FILE_BYTES = 1024 * 1024;
const MOST_ISSUES = 20;
const LONGEST_ISSUE = 500;
/** A config.json with any of these is Hugging Face's file of the same name. */
const HUB_FIELDS = [
  'model_type',
  'architectures',
  '_name_or_path',
  'transformers_version',
  'vocab_size',
  'hidden_size',
];

/** Whether the contents of a config.json are Hugging Face's, not Triton's. */
export function isHubConfig(contents: unknown): boolean {
  return typeof contents === 'object' && contents !== null && HUB_FIELDS.some((field) => field in contents);
}

/**
 * Reads a model's config.pbtxt, or its config.json when that is Triton's message. `override` (JSON, as in a load request)
 * stands in for the file.
 * @throws ServingError MODEL_CONFIG_INVALID with all that is wrong in the file
 */
export async function readTritonConfig(place: TritonConfigPlace, override?: string): Promise<TritonConfig> {
  if (override !== undefined && override.trim() !== '') {
    if (override.length > LARGEST_FILE_BYTES)
      throw invalid('load request', tooLarge(Buffer.byteLength(override)));
    const message = check(place, 'load request', () => fromProtobufJson(parseJson(override)));
    return { message, source: 'load request' };
  }
  const [textFile, jsonFile] = [join(place.folder, 'config.pbtxt'), join(place.folder, 'config.json')];
  const text = await readBounded(textFile);
  const json = await readTritonJson(jsonFile);
  if (text !== undefined && json !== undefined) {
    throw invalid(
      place.folder,
      'config.pbtxt and config.json are both a Triton configuration; keep one of them',
    );
  }
  if (text !== undefined)
    return { message: check(place, textFile, () => parseTextProto(text)), source: 'config.pbtxt' };
  if (json === undefined) return { message: tritonSchema.parse({}), source: '' };
  return { message: check(place, jsonFile, () => fromProtobufJson(json)), source: 'config.json' };
}

/** The version policy of a configuration. */
export function policyOf({ version_policy: policy }: TritonMessage): VersionPolicy {
  if (policy?.all !== undefined) return { kind: 'all' };
  if (policy?.specific !== undefined) return { kind: 'specific', versions: policy.specific.versions };
  // Triton takes 0 as unset.
  return policy?.latest?.num_versions
    ? { kind: 'latest', count: policy.latest.num_versions }
    : DEFAULT_POLICY;
}

/** The name of the model file in a version folder. */
export function modelFilename({ default_model_filename: name }: TritonMessage): string {
  return name || 'model.onnx';
}

const invalid = (where: string, what: string, cause?: unknown) =>
  new ServingError('MODEL_CONFIG_INVALID', `${where}: ${what}`, { cause });

function check(place: TritonConfigPlace, where: string, read: () => unknown): TritonMessage {
  let contents: unknown;
  try {
    contents = read();
  } catch (cause) {
    throw invalid(where, (cause as Error).message, cause);
  }
  const parsed = tritonSchema.safeParse(contents);
  if (!parsed.success) {
    const hint =
      basename(where) === 'config.json'
        ? ` (it has none of ${HUB_FIELDS.join(', ')}, so it is read as Triton's configuration)`
        : '';
    const { issues } = parsed.error;
    const told = issues.slice(0, MOST_ISSUES).map(issueText);
    if (issues.length > MOST_ISSUES) told.push(`${issues.length - MOST_ISSUES} more`);
    throw invalid(where, told.join('; ') + hint);
  }
  const { name } = parsed.data;
  if (name && name !== place.name)
    throw invalid(
      where,
      `name is "${shortened(name, 200)}", but the folder is called "${place.name}"; they must be the same`,
    );
  return parsed.data;
}

function issueText(issue: z.core.$ZodIssue): string {
  const path = issue.path.map(String).join('.');
  // What stands more than once has been read as a list.
  const isTwice =
    issue.code === 'invalid_type' && issue.expected !== 'array' && issue.message.endsWith('received array');
  const what = isTwice ? 'stands there more than once, or as a list' : issue.message;
  return shortened(path === '' ? what : `${path}: ${what}`, LONGEST_ISSUE);
}

const shortened = (text: string, most: number) => (text.length > most ? `${text.slice(0, most)}…` : text);

const tooLarge = (bytes: number) => `has ${bytes} bytes; a configuration has ${LARGEST_FILE_BYTES} at most`;

async function readTritonJson(path: string): Promise<unknown> {
  const text = await readBounded(path);
  if (text === undefined) return undefined;
  try {
    const contents = parseJson(text);
    return isHubConfig(contents) ? undefined : contents;
  } catch (cause) {
    throw invalid(path, (cause as Error).message, cause);
  }
}

function parseJson(text: string): unknown {
  try {
    // Some editors put a byte order mark before the text.
    return JSON.parse(text.replace(/^\ufeff/, ''));
  } catch (cause) {
    throw new Error(`is not valid JSON: ${(cause as Error).message}`, { cause });
  }
}

/** A configuration file's text; undefined when there is none. */
async function readBounded(path: string): Promise<string | undefined> {
  try {
    const stats = await stat(path);
    if (!stats.isFile()) throw invalid(path, 'is no file');
    const { size } = stats;
    if (size > LARGEST_FILE_BYTES) throw invalid(path, tooLarge(size));
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
