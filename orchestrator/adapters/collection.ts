import { RagError } from '../errors.ts';
import type { CollectionInfo } from '../ports.ts';

const nameShape = /^[A-Za-z0-9._-]{1,64}$/;

/**
 * Refuses names that some store could not keep.
 * @throws RagError INVALID_INPUT
 */
export function checkCollectionName(name: string): void {
  if (nameShape.test(name)) return;
  const shown = JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}...` : name);
  throw new RagError(
    'INVALID_INPUT',
    `The collection name ${shown} is not usable. Use 1 to 64 letters, digits, dots, hyphens or underscores.`,
  );
}

/**
 * Refuses a vector that can't lie in the collection's space.
 * @throws RagError SPACE_MISMATCH for another dimension, INVALID_INPUT for NaN or infinity
 */
export function checkVector(collection: CollectionInfo, vector: Float32Array, what: string): void {
  if (vector.length !== collection.dimension) {
    throw new RagError(
      'SPACE_MISMATCH',
      `The vector of ${what} has ${vector.length} dimensions, but collection "${collection.name}" has ` +
        `${collection.dimension}. Use the model that the collection was made with, or a new collection.`,
    );
  }
  if (!vector.every(Number.isFinite)) {
    throw new RagError('INVALID_INPUT', `The vector of ${what} holds a number that is not finite.`);
  }
}

/**
 * Refuses to go on with a collection whose vectors come from another model.
 * @throws RagError SPACE_MISMATCH
 */
export function checkSpace(existing: CollectionInfo, wanted: CollectionInfo): void {
  if (existing.space === wanted.space && existing.dimension === wanted.dimension) return;
  throw new RagError(
    'SPACE_MISMATCH',
    `Collection "${wanted.name}" holds vectors of space ${existing.space} (${existing.dimension} dimensions), but the ` +
      `embedding model now makes space ${wanted.space} (${wanted.dimension} dimensions). Vectors of two spaces can't be ` +
      'compared: serve the model that the collection was made with, or ingest into a new collection.',
  );
}

/** What a write into a collection that does not exist is refused with. */
export function noSuchCollection(name: string): RagError {
  return new RagError('NOT_FOUND', `There is no collection "${name}". Make it before writing to it.`);
}
