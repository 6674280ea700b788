import { createHash } from 'node:crypto';
import type { StagedInput } from './staged-input.ts';

/**
 * The id of a document: the caller's, or one derived from collection and file name, so that uploading a file again
 * replaces it. Bare text without an id is known by what it says.
 */
export function documentId(
  collection: string,
  input: Pick<StagedInput, 'documentId' | 'source' | 'title' | 'sha256'>,
): string {
  if (input.documentId !== undefined) return input.documentId;
  const name = input.source === '' ? ['text', input.title ?? '', input.sha256] : ['file', input.source];
  return createHash('sha256')
    .update(JSON.stringify([collection, ...name]))
    .digest('hex')
    .slice(0, 32);
}
