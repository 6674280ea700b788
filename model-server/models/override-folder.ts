import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { ServingError } from '../errors.ts';
import { scanModel } from './repository/scan.ts';
import type { ModelFolder } from './repository/version-files.ts';

/** Bytes by path within a model's folder, as in `1/model.onnx`. */
export type OverrideFiles = ReadonlyMap<string, Uint8Array>;

const MOST_FILES = 64;

/**
 * Writes files that came with a load into a temporary folder of their own, which then stands in for the model's.
 * @param override the configuration that came along, JSON
 * @returns the folder as a model folder, and how to remove it when it is no longer needed
 * @throws ServingError INVALID_INPUT for a path that leaves the folder, or when there is no complete version in it
 */
export async function writeOverride(
  name: string,
  { files, override }: { files: OverrideFiles; override: string | undefined },
): Promise<{ folder: ModelFolder; remove: () => Promise<void> }> {
  const invalid = (what: string) => new ServingError('INVALID_INPUT', `load of model ${name}: ${what}`);
  if (files.size > MOST_FILES) throw invalid(`${files.size} files came along, the limit is ${MOST_FILES}.`);
  const root = await mkdtemp(join(tmpdir(), 'nereid-load-'));
  const remove = () => rm(root, { recursive: true, force: true });
  try {
    const modelFolder = resolve(root, name);
    if (dirname(modelFolder) !== root) throw invalid('its name is no name of a folder.');
    for (const [path, bytes] of files) {
      const file = resolve(modelFolder, path);
      const inside = relative(modelFolder, file);
      if (inside === '' || inside === '..' || inside.startsWith(`..${sep}`)) {
        throw invalid(`the path ${JSON.stringify(path)} leaves the model's folder.`);
      }
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, bytes);
    }
    const folder = await scanModel(root, name, { override });
    const wrong = folder?.versions.find((version) => !version.complete);
    if (folder === undefined) throw invalid('no version came along; a file of one is 1/model.onnx.');
    if (wrong !== undefined && !wrong.complete) throw invalid(`version ${wrong.version}: ${wrong.why}.`);
    return { folder, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}
