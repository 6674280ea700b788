import { createHash } from 'node:crypto';
import { basename, posix } from 'node:path';
import { contentsOf, markFolder, markShared } from './file-marks.ts';
import { readOfVersion } from './missing.ts';
import type { ModelConfig } from './model-config.ts';
import { readOnnxFile } from './onnx-file.ts';
import type { VersionFiles } from './version-files.ts';

const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json'];
/** Spaces that are kept, so that a version which is loaded again is not read again. */
const MOST_KNOWN = 256;
const known = new Map<string, string>();

/**
 * The space id of an embedding model: a hash of all that decides its vectors (the model file and those that it keeps weights
 * in, the tokenizer, pooling, normalisation and length), so that a renamed model keeps its space and a changed one gets a
 * new one, while a licence or a list of words beside it changes nothing. It is remembered for as long as the files stay the
 * same.
 * @throws ServingError MODEL_LOAD_FAILED when a file is gone
 */
export async function hashSpace(files: VersionFiles, config: ModelConfig): Promise<string> {
  const settings = settingsOf(config);
  const key = `${files.versionFolder}\0${files.signature}\0${settings}`;
  const before = known.get(key);
  if (before !== undefined) return before;
  const space = await readOfVersion(files, () => hashFiles(files, settings));
  if (known.size >= MOST_KNOWN) known.delete(known.keys().next().value!);
  known.set(key, space);
  return space;
}

function settingsOf({ pooling, normalize, maxTokens, outputName }: ModelConfig): string {
  const settings: unknown[] = [pooling, normalize, maxTokens];
  if (outputName !== 'last_hidden_state') settings.push(outputName);
  return JSON.stringify(settings);
}

async function hashFiles(files: VersionFiles, settings: string): Promise<string> {
  const own = (await markFolder(files.versionFolder)).filter(({ size }) => size >= 0);
  const shared = await markShared(files.folder);
  const hash = createHash('sha256');
  hash.update(settings);
  const tokenizer = TOKENIZER_FILES.map(
    (name) => own.find((mark) => mark.name === name) ?? shared.find((mark) => mark.name === name),
  );
  const names = await weightFiles(files);
  const weights = own.filter(({ name }) => names.has(name));
  for (const file of [...tokenizer, ...weights]) {
    if (file === undefined) continue;
    hash.update(`\0${file.name}\0${file.size}\0`);
    for await (const part of contentsOf(file.path)) hash.update(part);
  }
  return hash.digest('hex').slice(0, 32);
}

async function weightFiles({ modelFile }: VersionFiles): Promise<ReadonlySet<string>> {
  const onnx = await readOnnxFile(modelFile);
  const external = onnx.complete ? onnx.externalFiles : [];
  return new Set([basename(modelFile), ...external.map(({ file }) => posix.normalize(file))]);
}
