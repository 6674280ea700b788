import { ServingError } from '../../errors.ts';
import type { Description } from '../describe.ts';
import { signatureNow } from '../repository/file-marks.ts';
import { hashSpace } from '../repository/space.ts';
import type { CompleteVersion } from '../repository/version-files.ts';

/** What was read of a version, some time ago. */
export interface AsRead {
  /** Name and version, for messages. */
  owner: string;
  files: CompleteVersion;
  description: Description;
}

/**
 * Makes sure that the files of a version still make vectors of the space that its description tells: what was unloaded may
 * be loaded again days later, and vectors of exchanged weights must not go out under the old space. Files that were only
 * written again will do, and so will another configuration, for the one that was read goes on to count.
 * @throws ServingError MODEL_NOT_READY
 */
export async function refuseStale({ owner, files, description }: AsRead): Promise<void> {
  const { space, config } = description;
  if (space === '') return;
  let why = '';
  try {
    const signature = await signatureNow(files);
    if (signature === files.signature) return;
    if ((await hashSpace({ ...files, signature }, config)) === space) return;
  } catch (error) {
    why = ` (${(error as Error).message})`;
  }
  throw new ServingError(
    'MODEL_NOT_READY',
    `${owner}: its files have changed since they were read${why}. They are taken over at the next look at the repository (mode poll), or by command: nereid models load ${files.name}`,
    { retryAfterMs: 1000 },
  );
}
