import type { ChunkWithVector } from '../../orchestrator/ports.ts';

/** Of every vector in the store tests. */
export const dimension = 8;

/** A unit vector with 1 at `axis`, and a little of the next axis when `tilt` is given. */
export function axis(index: number, tilt = 0): Float32Array {
  const vector = new Float32Array(dimension);
  vector[index % dimension] = Math.sqrt(1 - tilt * tilt);
  vector[(index + 1) % dimension]! += tilt;
  return vector;
}

/** Full-precision numbers, so that a store which rounds is caught. */
export function grainyVector(seed: number): Float32Array {
  const raw = Array.from({ length: dimension }, (_, index) => Math.sin(seed * 12.9898 + index * 78.233));
  const length = Math.hypot(...raw);
  return Float32Array.from(raw, (value) => value / length);
}

export function chunk(fields: Partial<ChunkWithVector> = {}): ChunkWithVector {
  const { documentId = 'doc', revision = 'r1', ordinal = 0, text = `text ${ordinal}` } = fields;
  return {
    chunkId: `${documentId}:${revision}:${ordinal}`,
    documentId,
    revision,
    ordinal,
    start: ordinal * 100,
    end: ordinal * 100 + text.length,
    text,
    title: '',
    contentHash: `hash of ${text}`,
    vector: axis(ordinal),
    ...fields,
  };
}
