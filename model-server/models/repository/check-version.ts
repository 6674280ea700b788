import { posix } from 'node:path';
import { ServingError } from '../../errors.ts';
import type { FileMark } from './file-marks.ts';
import type { KnownFacts } from './known-facts.ts';
import { type OnnxFile, readOnnxFile, type TornOnnxFile } from './onnx-file.ts';
import { checkManifests, type Shortcoming } from './sha256-manifest.ts';

/** What keeps a version from being loaded: a torn or missing model file, weights that lack, checksums that differ. */
export async function checkVersion(
  marks: readonly FileMark[],
  modelFile: string,
  facts: KnownFacts,
): Promise<Shortcoming | undefined> {
  const file = marks.find((mark) => mark.name === modelFile);
  if (file === undefined) return wait(`${modelFile} is missing`);
  if (file.size < 0) return wait(`${modelFile} is a link that leads nowhere`);
  let onnx: OnnxFile | TornOnnxFile;
  try {
    onnx = await facts.of(`onnx ${file.path}`, file.mark, () => readOnnxFile(file.path));
  } catch (error) {
    if (error instanceof ServingError) return { why: `${modelFile}: ${error.message}`, isFinal: true };
    throw error;
  }
  if (!onnx.complete) return wait(`${modelFile} is ${onnx.why}`);
  return checkExternal(onnx, marks, modelFile) ?? (await checkManifests(marks, modelFile, facts));
}

function checkExternal(
  onnx: OnnxFile,
  marks: readonly FileMark[],
  modelFile: string,
): Shortcoming | undefined {
  for (const { file, bytes } of onnx.externalFiles) {
    const name = posix.normalize(file.replaceAll('\\', '/'));
    const found = marks.find((mark) => mark.name === name);
    if (found === undefined) return wait(`${name} is missing, which holds weights of ${modelFile}`);
    if (found.size < 0) return wait(`${name} is a link that leads nowhere`);
    if (found.size < bytes)
      return wait(`${name} has ${found.size} bytes, but ${modelFile} needs ${bytes} of them`);
  }
  return undefined;
}

const wait = (why: string): Shortcoming => ({ why, isFinal: false });
