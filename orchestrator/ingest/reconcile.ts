import type { DocumentRecord, MetadataStore, VectorStore } from '../ports.ts';
import { failedRecord } from './document-record.ts';

/** Names a document across collections. */
export function documentKey(collection: string, id: string): string {
  return JSON.stringify([collection, id]);
}

export interface ReconcileOptions {
  vectors: VectorStore;
  metadata: MetadataStore;
  /** Documents (by `documentKey`) that wait to be ingested: their invisible rows are kept, since they save work. */
  waiting: ReadonlySet<string>;
}

/** What was found and done. */
export interface Reconciled {
  /** Invisible revisions of waiting documents, by `documentKey`. */
  leftovers: Map<string, string[]>;
  /** Revisions removed because no document shows them. */
  removedRevisions: number;
  finishedDeletions: number;
  /** Documents whose vectors are gone, or whose ingest will not go on. */
  failedDocuments: number;
}

const PAGE = 500;

function* collectionsWithDocuments(metadata: MetadataStore): Generator<string> {
  for (let offset = 0; ; offset += PAGE) {
    const { documents } = metadata.listDocuments(undefined, { limit: PAGE, offset });
    for (const { collection } of documents) yield collection;
    if (documents.length < PAGE) return;
  }
}

/**
 * Makes vectors and metadata agree after a crash: the metadata says what exists.
 * @throws RagError STORE_UNAVAILABLE
 */
export async function reconcile(options: ReconcileOptions): Promise<Reconciled> {
  const { vectors, metadata } = options;
  const done: Reconciled = {
    leftovers: new Map(),
    removedRevisions: 0,
    finishedDeletions: 0,
    failedDocuments: 0,
  };
  const stored = new Set((await vectors.listCollections()).map(({ name }) => name));
  for (const collection of new Set([...stored, ...collectionsWithDocuments(metadata)])) {
    const revisions = stored.has(collection) ? await vectors.listRevisions(collection) : [];
    await reconcileRevisions(options, { collection, revisions, done });
    await reconcileDocuments(options, { collection, revisions, done });
  }
  return done;
}

interface Work {
  collection: string;
  revisions: readonly { documentId: string; revision: string }[];
  done: Reconciled;
}

async function reconcileRevisions(
  { vectors, metadata, waiting }: ReconcileOptions,
  work: Work,
): Promise<void> {
  const { collection, revisions, done } = work;
  const states = new Map(metadata.allRevisions(collection).map((state) => [state.id, state]));
  for (const { documentId, revision } of revisions) {
    const state = states.get(documentId);
    if (state?.status === 'deleting' || state?.revision === revision) continue;
    const key = documentKey(collection, documentId);
    if (waiting.has(key)) {
      done.leftovers.set(key, [...(done.leftovers.get(key) ?? []), revision]);
    } else {
      await vectors.deleteDocument(collection, documentId, { revision });
      done.removedRevisions++;
    }
  }
}

async function reconcileDocuments(
  { vectors, metadata, waiting }: ReconcileOptions,
  work: Work,
): Promise<void> {
  const { collection, revisions, done } = work;
  const stored = new Set(revisions.map(({ documentId, revision }) => documentKey(documentId, revision)));
  for (const { id, revision, status } of metadata.allRevisions(collection)) {
    if (status === 'deleting') {
      if (revisions.some(({ documentId }) => documentId === id)) await vectors.deleteDocument(collection, id);
      metadata.removeDocument(collection, id);
      done.finishedDeletions++;
      continue;
    }
    const lost = revision !== '' && !stored.has(documentKey(id, revision));
    const abandoned = status === 'pending' && !waiting.has(documentKey(collection, id));
    const document = lost || abandoned ? metadata.getDocument(collection, id) : undefined;
    if (document === undefined) continue;
    metadata.putDocument(lost ? withoutVectors(document) : interrupted(document));
    done.failedDocuments++;
  }
}

function withoutVectors(document: DocumentRecord): DocumentRecord {
  const message = 'The vectors of this document are no longer in the store. Ingest it again.';
  const emptied = { ...document, revision: '', fingerprint: '', chunks: 0 };
  return failedRecord(emptied, { reason: 'STORE_UNAVAILABLE', message });
}

function interrupted(document: DocumentRecord): DocumentRecord {
  const message = 'The ingest of this document was interrupted and its upload is gone. Upload it again.';
  return failedRecord(document, { reason: 'NOT_FOUND', message });
}
