import { ServingError } from '../../errors.ts';
import type { LoadOverride } from '../../models/admin.ts';

/** `<version>/<file>`, where the file may lie in a subfolder. */
const FILE_PATH = /^[1-9]\d{0,9}(\/[\w-][\w.-]{0,127}){1,4}$/;

/**
 * What a load brings along in place of the repository's files; undefined when it brings nothing.
 * @throws ServingError INVALID_INPUT for a path that is none, or files without a configuration
 */
export function overrideOf(config: string, files: ReadonlyMap<string, Uint8Array>): LoadOverride | undefined {
  for (const path of files.keys())
    if (!FILE_PATH.test(path))
      throw new ServingError(
        'INVALID_INPUT',
        `${JSON.stringify(path.slice(0, 200))} is no path of an override; one looks like 1/model.onnx.`,
      );
  if (files.size > 0 && config === '')
    throw new ServingError(
      'INVALID_INPUT',
      `the load brings ${files.size} file${files.size === 1 ? '' : 's'} but no config; files replace those of the repository only together with a config.`,
    );
  if (config === '') return undefined;
  return files.size === 0 ? { config } : { config, files };
}
