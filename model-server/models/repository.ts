import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ServingError } from '../errors.ts';
import type { ModelConfig } from './model-config.ts';

const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json'];

/** One version of a model in the repository folder: `<name>/<version>/model.onnx`. */
export interface ModelFolder {
  name: string;
  /** Holds config.pbtxt and the tokenizer files. */
  folder: string;
  version: number;
  /** Holds model.onnx, and tokenizer files that are its own. */
  versionFolder: string;
  modelFile: string;
}

/**
 * The models of a repository: for each folder the highest version that holds a model.onnx (Triton's default policy,
 * latest 1). Folders without one are not models and are left out.
 * @throws ServingError MODEL_CONFIG_INVALID when the repository folder does not exist
 */
export function scanRepository(repository: string): ModelFolder[] {
  if (!existsSync(repository) || !statSync(repository).isDirectory()) {
    throw new ServingError(
      'MODEL_CONFIG_INVALID',
      `the model repository ${repository} is not a folder. Give the right one with --model-repository.`,
    );
  }
  return readdirSync(repository)
    .filter(
      (name) =>
        !name.startsWith('.') && statSync(join(repository, name), { throwIfNoEntry: false })?.isDirectory(),
    )
    .sort()
    .flatMap((name) => latestVersion(name, join(repository, name)) ?? []);
}

function latestVersion(name: string, folder: string): ModelFolder | undefined {
  const versions = readdirSync(folder)
    .filter((entry) => /^[1-9]\d*$/.test(entry) && existsSync(join(folder, entry, 'model.onnx')))
    .map(Number)
    .sort((a, b) => b - a);
  const version = versions[0];
  if (version === undefined) return undefined;
  const versionFolder = join(folder, String(version));
  return { name, folder, version, versionFolder, modelFile: join(versionFolder, 'model.onnx') };
}

/**
 * The space id of an embedding model: a hash of all that decides its vectors (the files of its version, so that weights
 * outside model.onnx count too, the tokenizer, pooling, normalisation and length), so that a renamed model keeps its space
 * and a changed one gets a new one.
 */
export async function hashSpace(model: ModelFolder, config: ModelConfig): Promise<string> {
  const hash = createHash('sha256');
  hash.update(JSON.stringify([config.pooling, config.normalize, config.maxTokens]));
  const tokenizer = TOKENIZER_FILES.map((name) =>
    [model.versionFolder, model.folder].map((folder) => join(folder, name)).find((file) => existsSync(file)),
  );
  const weights = readdirSync(model.versionFolder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && !TOKENIZER_FILES.includes(entry.name))
    .map((entry) => join(model.versionFolder, entry.name))
    .sort();
  for (const file of [...tokenizer, ...weights]) {
    if (file === undefined) continue;
    hash.update(`\0${basename(file)}\0${statSync(file).size}\0`);
    for await (const part of createReadStream(file, { highWaterMark: 1024 * 1024 })) hash.update(part);
  }
  return hash.digest('hex').slice(0, 32);
}
