import { isDeepStrictEqual } from 'node:util';
import { ServingError } from '../../errors.ts';
import { type Description, describe } from '../describe.ts';
import { signatureNow } from '../repository/file-marks.ts';
import type { CompleteVersion } from '../repository/version-files.ts';

/** What was read of a version, some time ago. */
export interface AsRead {
  /** Name and version, for messages. */
  owner: string;
  files: CompleteVersion;
  /** A config in JSON that stands in for the one of the folder. */
  override: string | undefined;
  description: Description;
}

/**
 * Makes sure that a version is opened from the files that its description was read from: what was unloaded may be loaded
 * again days later, and vectors of exchanged weights must not go out under the old space. Files that were only written
 * again, with the same contents, will do.
 * @throws ServingError MODEL_NOT_READY
 */
export async function refuseStale({ owner, files, override, description }: AsRead): Promise<void> {
  let why = '';
  try {
    const signature = await signatureNow(files);
    if (signature === files.signature) return;
    if (isDeepStrictEqual(await describe({ ...files, signature }, override), description)) return;
  } catch (error) {
    why = ` (${(error as Error).message})`;
  }
  throw new ServingError(
    'MODEL_NOT_READY',
    `${owner}: its files have changed since they were read${why}. They are taken over by the next look at the repository, or by command: nereid models load ${files.name}`,
    { retryAfterMs: 1000 },
  );
}
