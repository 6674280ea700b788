import { hash } from 'node:crypto';

/**
 * What stands for a text in a vector space: a SHA-256, so that nobody can make two texts that share one. (It takes 0.25
 * microseconds for a question and less than a map of the texts themselves for a passage; MD5 is slower on today's
 * processors.) What else decides the vector, the longest length among it, is part of the space.
 * @param space of the model version that makes the vector; one that is only claimed for it will not do
 */
export function textKey(space: string, text: string): string {
  // Halves of surrogate pairs would all be hashed as one replacement character.
  const unmistakable = text.isWellFormed() ? `t${text}` : `j${JSON.stringify(text)}`;
  return hash('sha256', `${space}\0${unmistakable}`, 'base64url');
}
