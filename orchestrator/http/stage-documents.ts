import type { Request, Response } from 'express';
import type { z } from 'zod';
import { RagError } from '../errors.ts';
import type { StagedInput } from '../ingest/staged-input.ts';
import type { AppDeps } from './app-deps.ts';
import type { ingestRequest } from './document-wire.ts';
import { uploadFields } from './document-wire.ts';
import { receiveUpload } from './upload.ts';
import { validate } from './validate.ts';

/** Texts of one call that are written at once; each write waits for the disk. */
const writesAtOnce = 8;

/** Documents of one call, all in the staging area. */
export interface StagedDocuments {
  collection: string;
  inputs: StagedInput[];
}

type StagingDeps = Pick<AppDeps, 'staging' | 'config'>;

/**
 * Stages the files of a multipart upload.
 * @throws RagError what `receiveUpload` throws; INVALID_INPUT for the fields; nothing stays staged
 */
export async function stageUpload(
  deps: StagingDeps,
  call: { request: Request; response: Response; signal: AbortSignal },
): Promise<StagedDocuments> {
  const { staging, config } = deps;
  const { request, response, signal } = call;
  const { files, fields } = await receiveUpload(request, response, { staging, limits: config, signal });
  try {
    const { collection, documents } = validate(uploadFields, fields, 'body');
    if (documents.length > files.length) {
      const message = `body.documents describes ${documents.length} documents, but the upload has ${files.length} files.`;
      throw new RagError('INVALID_INPUT', message);
    }
    refuseDuplicates(documents.map(({ id }) => id));
    const inputs = files.map(({ name, mediaType, staged }, index): StagedInput => {
      const { id, title, metadata } = documents[index] ?? {};
      return { ...staged, documentId: id, title, metadata, source: name, mediaType };
    });
    return { collection, inputs };
  } catch (error) {
    await discardStaged(
      deps,
      files.map(({ staged }) => staged),
    );
    throw error;
  }
}

/**
 * Stages the documents of a JSON call.
 * @throws RagError TOO_LARGE, INVALID_INPUT, CANCELLED, STORE_UNAVAILABLE; nothing stays staged
 */
export async function stageTexts(
  deps: StagingDeps,
  { documents, collection }: z.output<typeof ingestRequest>,
  signal: AbortSignal,
): Promise<StagedDocuments> {
  const { maxDocuments, maxUploadBytes } = deps.config;
  if (documents.length > maxDocuments) {
    const message = `The call has ${documents.length} documents; at most ${maxDocuments} are taken (--max-documents). Send them in several calls.`;
    throw new RagError('TOO_LARGE', message, { details: { limit: maxDocuments } });
  }
  refuseDuplicates(documents.map(({ id }) => id));
  const inputs = new Array<StagedInput>(documents.length);
  const waiting = documents.entries();
  const failed = new AbortController();
  const both = AbortSignal.any([signal, failed.signal]);
  const write = async () => {
    for (const [index, { id, title, text, metadata }] of waiting) {
      if (both.aborted) throw RagError.from(both.reason);
      const staged = await deps.staging.write(text, { maxBytes: maxUploadBytes, signal: both });
      inputs[index] = { ...staged, documentId: id, title, metadata, source: '', mediaType: 'text/plain' };
    }
  };
  const writers = Array.from({ length: writesAtOnce }, () =>
    write().catch((error) => failWith(failed, error)),
  );
  const [failure] = (await Promise.allSettled(writers)).filter(({ status }) => status === 'rejected');
  if (failure?.status !== 'rejected') return { collection, inputs };
  await discardStaged(deps, inputs.filter(Boolean));
  throw failed.signal.reason;
}

/** Removes staged files that no job owns. */
export async function discardStaged(
  { staging }: Pick<AppDeps, 'staging'>,
  staged: readonly { stagedFile: string }[],
): Promise<void> {
  for (const { stagedFile } of staged) await staging.discard(stagedFile);
}

/** Two documents of one id in one call: only one of them could stay. */
function refuseDuplicates(ids: readonly (string | undefined)[]): void {
  const given = ids.filter((id) => id !== undefined);
  const twice = [...Map.groupBy(given, (id) => id)].filter(([, same]) => same.length > 1).map(([id]) => id);
  if (twice.length === 0) return;
  const named = twice
    .slice(0, 10)
    .map((id) => JSON.stringify(id))
    .join(', ');
  const more = twice.length > 10 ? ` and ${twice.length - 10} more` : '';
  throw new RagError('INVALID_INPUT', `The call has several documents with the same id: ${named}${more}.`);
}

function failWith(failed: AbortController, error: unknown): never {
  failed.abort(error);
  throw error;
}
