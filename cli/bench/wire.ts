import type { IncomingHttpHeaders } from 'node:http';

/** What requests and replies of one protocol look like. */
export interface Wire {
  path: string;
  headers: Readonly<Record<string, string>>;
  /** One request for these texts; `rows` are their token ids, for protocols that send those. */
  encode(texts: readonly string[], rows: readonly (readonly number[])[]): Uint8Array;
  /**
   * The vectors of a reply, one per text.
   * @throws Error when it is no such reply
   */
  vectors(reply: Buffer, headers: IncomingHttpHeaders): ArrayLike<number>[];
}

/** A reply that was taken apart must hold this. */
export interface Expected {
  vectors: number;
  /** Numbers in each vector; undefined: all the same, whatever it is. */
  dimension: number | undefined;
}

/** What is wrong with the vectors of a reply; undefined when nothing is. */
export function faultOf(vectors: readonly ArrayLike<number>[], expected: Expected): string | undefined {
  if (vectors.length !== expected.vectors)
    return `the reply has ${vectors.length} vectors for ${expected.vectors} texts`;
  const dimension = expected.dimension ?? vectors[0]?.length ?? 0;
  for (const [index, vector] of vectors.entries()) {
    if (vector.length !== dimension || dimension === 0)
      return `vector ${index} has ${vector.length} numbers instead of ${dimension}`;
    for (let at = 0; at < vector.length; at++)
      if (!Number.isFinite(vector[at])) return `number ${at} of vector ${index} is ${vector[at]}`;
  }
  return undefined;
}
