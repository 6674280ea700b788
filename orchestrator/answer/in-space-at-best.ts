import { RagError } from '../errors.ts';
import type { SpaceOptions } from '../ports.ts';

/**
 * Asks in the space of the collection, and in any other when nothing of that is served: for texts that are compared
 * with each other only, never with what is stored.
 * @throws whatever the call throws
 */
export async function inSpaceAtBest<T>(
  call: (options: SpaceOptions) => Promise<T>,
  { space, signal }: SpaceOptions,
): Promise<T> {
  try {
    return await call({ space, signal });
  } catch (thrown) {
    if (space === undefined || RagError.from(thrown).reason !== 'SPACE_MISMATCH') throw thrown;
    return call({ signal });
  }
}
