import { z } from 'zod';
import { RagError } from '../../errors.ts';
import type { JobRecord } from '../../ports.ts';
import type { AppDeps } from '../app-deps.ts';
import { document, documentList, ingestRequest, toDocument, uploadForm } from '../document-wire.ts';
import { collectionName, documentId } from '../fields.ts';
import { job, toJob } from '../job-wire.ts';
import type { Route } from '../route.ts';
import { route } from '../route.ts';
import { discardStaged, stageTexts, stageUpload } from '../stage-documents.ts';

const params = z.strictObject({ id: documentId });
const inCollection = z.strictObject({ collection: collectionName });

/** Documents: in, listed, out. */
export function documentRoutes(deps: AppDeps): Route[] {
  return [addDocuments(deps), listDocuments(deps), getDocument(deps), deleteDocument(deps)];
}

function addDocuments(deps: AppDeps): Route {
  return route({
    method: 'post',
    path: '/v1/documents',
    summary: 'Add documents, or replace those of the same id',
    description:
      'Files as multipart/form-data, or texts as JSON. Unchanged documents cost nothing. One bad document does not stop the others: each has its own status.',
    tag: 'documents',
    query: z.strictObject({
      wait: z
        .stringbool()
        .default(false)
        .meta({ description: 'true: answer when every document is settled' }),
    }),
    body: ingestRequest,
    multipart: uploadForm,
    responses: {
      200: { description: 'With wait=true: settled; each document says whether it is searchable', json: job },
      202: { description: 'Accepted and durable; `Location` is the job to follow', json: job },
    },
    errors: ['INVALID_INPUT', 'TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE', 'QUEUE_FULL', 'STORE_UNAVAILABLE'],
    async handle({ query, body, request, response, signal }) {
      const isUpload = request.is('multipart/form-data') !== false;
      const { collection, inputs } = isUpload
        ? await stageUpload(deps, { request, response, signal })
        : await stageTexts(deps, body, signal);
      const submitted = await submit(deps, collection, inputs);
      const headers = { location: `/v1/jobs/${submitted.id}` };
      const settled = query.wait ? await settledJob(deps, submitted.id, signal) : undefined;
      if (settled) return { status: 200, body: toJob(settled), headers };
      return { status: 202, body: toJob(submitted), headers };
    },
  });
}

/** A job that is refused leaves nothing staged. */
async function submit(
  deps: AppDeps,
  ...[collection, inputs]: Parameters<AppDeps['jobs']['submit']>
): Promise<JobRecord> {
  try {
    return deps.jobs.submit(collection, inputs);
  } catch (error) {
    await discardStaged(deps, inputs);
    throw error;
  }
}

/** Undefined when the process begins to stop: the job goes on at the next start. */
async function settledJob(
  { jobs, draining }: AppDeps,
  id: string,
  signal: AbortSignal,
): Promise<JobRecord | undefined> {
  try {
    return await jobs.wait(id, { signal: AbortSignal.any([signal, draining]) });
  } catch (error) {
    if (draining.aborted && !signal.aborted) return undefined;
    throw error;
  }
}

function listDocuments({ metadata }: AppDeps): Route {
  return route({
    method: 'get',
    path: '/v1/documents',
    summary: 'Documents, newest first',
    tag: 'documents',
    query: z.strictObject({
      collection: collectionName.unwrap().optional().meta({ description: 'none: of every collection' }),
      limit: z.coerce.number().int().min(1).max(1_000).default(100),
      offset: z.coerce.number().int().min(0).default(0),
    }),
    responses: { 200: { description: 'One page, and how many there are', json: documentList } },
    errors: ['INVALID_INPUT', 'STORE_UNAVAILABLE'],
    handle({ query: { collection, limit, offset } }) {
      const { documents, total } = metadata.listDocuments(collection, { limit, offset });
      return { status: 200, body: { documents: documents.map(toDocument), total, limit, offset } };
    },
  });
}

function getDocument({ metadata }: AppDeps): Route {
  return route({
    method: 'get',
    path: '/v1/documents/{id}',
    summary: 'One document',
    tag: 'documents',
    params,
    query: inCollection,
    responses: { 200: { description: 'What is known about it', json: document } },
    errors: ['INVALID_INPUT', 'NOT_FOUND', 'STORE_UNAVAILABLE'],
    handle({ params: { id }, query: { collection } }) {
      const record = metadata.getDocument(collection, id);
      if (!record || record.status === 'deleting') throw noSuchDocument(collection, id);
      return { status: 200, body: toDocument(record) };
    },
  });
}

function deleteDocument({ jobs }: AppDeps): Route {
  return route({
    method: 'delete',
    path: '/v1/documents/{id}',
    summary: 'Remove a document',
    tag: 'documents',
    params,
    query: inCollection,
    responses: { 204: { description: 'It is gone; no search finds it any more' } },
    errors: ['INVALID_INPUT', 'NOT_FOUND', 'STORE_UNAVAILABLE'],
    async handle({ params: { id }, query: { collection } }) {
      if (!(await jobs.deleteDocument(collection, id))) throw noSuchDocument(collection, id);
      return { status: 204 };
    },
  });
}

function noSuchDocument(collection: string, id: string): RagError {
  return new RagError(
    'NOT_FOUND',
    `There is no document ${JSON.stringify(id)} in the collection "${collection}".`,
  );
}
