import { ServingError } from '../errors.ts';
import type { Target } from './target.ts';
import type { ModelVersion } from './version.ts';

/** What is known of the spaces of a model's versions. */
export interface Spaces {
  /** The space that a version's vectors are told to be of; empty when it makes none. */
  spaceOf: (version: ModelVersion) => string;
  /** The highest version that meets a condition. */
  find: (condition: (version: ModelVersion) => boolean) => ModelVersion | undefined;
}

/**
 * Vectors of two spaces must not be mixed: who expects one gets a version that has it, or none.
 * @returns the chosen version, or another one where the request names neither version nor alias
 * @throws ServingError SPACE_MISMATCH
 */
export function inSpace(
  chosen: ModelVersion | undefined,
  { expectSpace, version, alias }: Target,
  { spaceOf, find }: Spaces,
): ModelVersion | undefined {
  // Before its files have been read its space is not known; it is looked at again when they have been.
  if (expectSpace === '' || chosen?.description === undefined || spaceOf(chosen) === expectSpace)
    return chosen;
  const isFree = version === 0 && alias === '';
  const other = find((candidate) => candidate.state !== 'failed' && spaceOf(candidate) === expectSpace);
  if (isFree && other !== undefined) return other;
  throw new ServingError(
    'SPACE_MISMATCH',
    `${chosen.owner} makes vectors of space ${spaceOf(chosen)}, the request expects ${expectSpace}; vectors of the two must not be mixed.`,
  );
}
