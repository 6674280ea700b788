import { posix } from 'node:path';
import { CommandFailure } from '../exit-codes.ts';
import { checkedPath, type Snapshot, type SourceFile } from './source.ts';

/** A file and where it goes in the version folder. */
export interface PlannedFile {
  file: SourceFile;
  /** Path in the version folder, with slashes. */
  target: string;
}

/** The server's name of the weights. */
export const MODEL_FILE = 'model.onnx';

/** What belongs to a model beside its weights: the tokenizer, and what says how its vectors are made. */
const companions = [
  'config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'vocab.txt',
  'modules.json',
  'sentence_bert_config.json',
  'config_sentence_transformers.json',
  'preprocessor_config.json',
  'golden.json',
];
const pooling = /^\d{1,3}_Pooling\/config\.json$/;

/** The companions of a model file. One beside the weights was written for them and wins over the snapshot's own. */
export function companionsOf({ files }: Snapshot, modelFile: string): PlannedFile[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const beside = posix.dirname(modelFile);
  const found = companions.flatMap((name) => {
    const file = byPath.get(posix.join(beside, name)) ?? byPath.get(name);
    return file === undefined ? [] : [{ file, target: name }];
  });
  return [
    ...found,
    ...files.filter(({ path }) => pooling.test(path)).map((file) => ({ file, target: file.path })),
  ];
}

/**
 * The files that the weights refer to, under the names that they refer to them by.
 * @param locations as the ONNX file has them, relative to its own folder
 * @throws CommandFailure when one is not in the snapshot, or would land outside of the version folder or on another file
 */
export function externalFilesOf(
  { files, source }: Snapshot,
  modelFile: string,
  { locations, taken }: { locations: readonly string[]; taken: readonly PlannedFile[] },
): PlannedFile[] {
  return locations.map((location) => {
    const target = checkedPath(location.replace(/^\.\//, ''), modelFile);
    const path = posix.join(posix.dirname(modelFile), target);
    const file = files.find((candidate) => candidate.path === path);
    if (file === undefined) {
      const message = `${modelFile} keeps weights in ${location}, but ${source} has no ${path}; without it the model can't be loaded`;
      throw new CommandFailure(message);
    }
    if (target === MODEL_FILE || isOwn(target) || taken.some((other) => other.target === target))
      throw new CommandFailure(
        `${modelFile} keeps weights in ${location}, a name that the version folder needs for another file`,
      );
    return { file, target };
  });
}

/** Names that a pull writes itself. */
export function isOwn(target: string): boolean {
  return target === 'SHA256SUMS' || target === 'pulled.json';
}
