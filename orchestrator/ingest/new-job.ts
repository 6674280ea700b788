import { randomUUID } from 'node:crypto';
import { RagError } from '../errors.ts';
import type { JobItem, JobRecord } from '../ports.ts';
import { documentId } from './document-id.ts';
import type { StagedInput } from './staged-input.ts';

const MAX_ID_LENGTH = 512;

function refuseBadId(id: string): void {
  if (id.length > 0 && id.length <= MAX_ID_LENGTH && !/[\x00-\x1f\x7f]/.test(id)) return;
  const shown = JSON.stringify(id.slice(0, 40));
  const message = `A document id has 1 to ${MAX_ID_LENGTH} characters and no control characters; this one has ${id.length}: ${shown}`;
  throw new RagError('INVALID_INPUT', message);
}

function newItem(collection: string, input: StagedInput, index: number): JobItem {
  if (input.documentId !== undefined) refuseBadId(input.documentId);
  const { title = '', source, mediaType, bytes, metadata = {}, stagedFile } = input;
  const id = documentId(collection, input);
  return { index, documentId: id, title, source, mediaType, bytes, metadata, stagedFile, status: 'queued' };
}

/**
 * A queued job, not stored yet.
 * @throws RagError INVALID_INPUT (no inputs, or a bad document id)
 */
export function newJob(collection: string, inputs: readonly StagedInput[]): JobRecord {
  if (inputs.length === 0) {
    throw new RagError('INVALID_INPUT', 'There is no document in the call: send at least one.');
  }
  const now = new Date().toISOString();
  const items = inputs.map((input, index) => newItem(collection, input, index));
  return { id: randomUUID(), collection, status: 'queued', items, createdAt: now, updatedAt: now };
}
