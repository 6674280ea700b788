import { randomBytes } from 'node:crypto';
import { basename, extname } from 'node:path';
import { RagError } from '../errors.ts';
import type {
  DocumentRecord,
  Embedder,
  EmbeddingModel,
  JobItem,
  MetadataStore,
  VectorStore,
} from '../ports.ts';
import { ChunkWriter } from './chunk-writer.ts';
import { type Chunk, chunk } from './chunker.ts';
import { collectionModel } from './collection-model.ts';
import type { ReadDocument } from './document.ts';
import { DocumentReader } from './document-reader.ts';
import { failedRecord, type Ingested, pendingRecord, readyItem, readyRecord } from './document-record.ts';
import { fingerprint } from './fingerprint.ts';
import { GroupedUpserts } from './grouped-upserts.ts';
import type { IngestProgress } from './job-event.ts';
import { type Patience, patientEmbedder } from './patient-embedder.ts';
import type { Staging } from './staging.ts';
import { storedChunks } from './stored-chunks.ts';

/** What ingesting needs from the outside. */
export interface PipelineDeps {
  embedder: Embedder;
  vectors: VectorStore;
  metadata: MetadataStore;
  staging: Staging;
}

/** Limits and sizes of ingesting. */
export interface PipelineOptions extends Patience {
  /** Tokens in a chunk at most. */
  chunkTokens: number;
  /** Tokens that neighbouring chunks share at most. */
  chunkOverlapTokens: number;
  /** Milliseconds that reading one file may take. */
  readTimeoutMs: number;
  /** MB of memory that reading one file may take. */
  readMemoryMb: number;
}

/** One document of a job. */
export interface IngestTask {
  collection: string;
  jobId: string;
  item: JobItem;
  /** Revisions that an interrupted ingest of this document left: their vectors are taken, then they go. */
  leftovers?: readonly string[] | undefined;
}

export interface IngestOptions {
  signal: AbortSignal;
  onProgress?: ((progress: IngestProgress) => void) | undefined;
}

/** Tokens that a chunk keeps at least, however long its document's title is. */
const LEAST_CHUNK_TOKENS = 16;
/** Titles are embedded with every chunk; a longer one would crowd out the text. */
const MAX_TITLE_LENGTH = 300;

/**
 * Turns one staged document into searchable chunks: read, chunk, embed what is new, store under a new revision,
 * publish it in one transaction, remove the old one. Until it is published, searches see the old revision.
 */
export class IngestPipeline {
  readonly deps: PipelineDeps;
  readonly #options: PipelineOptions;
  readonly #embedder: Embedder;
  readonly #reader: DocumentReader;
  readonly #upserts: GroupedUpserts;

  constructor(deps: PipelineDeps, options: PipelineOptions) {
    this.deps = deps;
    this.#options = options;
    this.#embedder = patientEmbedder(deps.embedder, options);
    this.#upserts = new GroupedUpserts(deps.vectors);
    this.#reader = new DocumentReader({ timeoutMs: options.readTimeoutMs, memoryMb: options.readMemoryMb });
  }

  /**
   * Resolves with the settled item (`ready` or `unchanged`), which is stored already. On a throw the old revision
   * is as it was and the new one's rows are gone, except on STOPPING, when they wait as leftovers for the next start.
   * @throws RagError any reason of reading, embedding and storing, and the signal's reason
   */
  async ingest(task: IngestTask, options: IngestOptions): Promise<JobItem> {
    const { collection, item } = task;
    const revision = randomBytes(8).toString('hex');
    try {
      options.signal.throwIfAborted();
      await this.#finishDeletion(collection, item.documentId);
      const before = this.#begin(task);
      return await this.#ingest({ ...task, before, revision }, options);
    } catch (thrown) {
      const error = options.signal.aborted ? RagError.from(options.signal.reason) : RagError.from(thrown);
      const doomed = this.#mayBeVisible(task, revision) ? [] : [revision];
      if (error.reason !== 'STOPPING') await this.#discard(task, [...doomed, ...(task.leftovers ?? [])]);
      throw error;
    }
  }

  /** Stores why an item failed, with its document: one that was visible stays so. Gives back the settled item. */
  fail(task: IngestTask, { reason, message }: RagError): JobItem {
    const { metadata } = this.deps;
    const error = { reason, message };
    const item: JobItem = { ...task.item, status: 'failed', error };
    const document = metadata.getDocument(task.collection, item.documentId);
    if (document === undefined || document.status === 'deleting') metadata.updateJobItem(task.jobId, item);
    else metadata.publish(failedRecord(document, error), { jobId: task.jobId, item });
    return item;
  }

  /** Ends the readers. Idempotent. */
  async close(): Promise<void> {
    await this.#reader.close();
  }

  /** A deletion that could not be finished, perhaps before a restart, is finished before the document comes back. */
  async #finishDeletion(collection: string, id: string): Promise<void> {
    const { metadata, vectors } = this.deps;
    if (metadata.getDocument(collection, id)?.status !== 'deleting') return;
    await vectors.deleteDocument(collection, id);
    metadata.removeDocument(collection, id);
  }

  /** The document as it was; one that is not visible gets a pending record, so that it is listed at once. */
  #begin({ collection, item }: IngestTask): DocumentRecord {
    const { metadata } = this.deps;
    const before = metadata.getDocument(collection, item.documentId);
    if (before !== undefined && before.revision !== '') return before;
    const pending = pendingRecord(collection, item, before);
    metadata.putDocument(pending);
    return pending;
  }

  async #ingest(run: Run, options: IngestOptions): Promise<JobItem> {
    const { staging, vectors } = this.deps;
    const { collection, item, before, revision } = run;
    const { signal } = options;
    const model = await collectionModel({ embedder: this.#embedder, vectors }, collection, { signal });
    const sha256 = await staging.sha256(item.stagedFile, signal);
    const print = fingerprint(sha256, item, { ...this.#options, space: model.space });
    if (before.fingerprint === print) return this.#unchanged(run);

    const document = await this.#read(item, options);
    const title = (item.title || document.title || basename(item.source, extname(item.source))).slice(
      0,
      MAX_TITLE_LENGTH,
    );
    const chunks = await this.#chunk(document, { title, model }, options);
    const rows = storedChunks({ documentId: item.documentId, revision, title }, chunks);
    const known = await this.#known(run);
    const writer = new ChunkWriter(this.#embedder, this.#upserts, model);
    const written = await writer.write(collection, rows, {
      signal,
      known,
      onProgress: (stage, done, total) => options.onProgress?.({ stage, done, total }),
    });
    signal.throwIfAborted();
    const ingested: Ingested = {
      document,
      title,
      fingerprint: print,
      revision,
      chunks: rows.length,
      ...written,
    };
    const settled = readyItem(item, ingested);
    try {
      this.deps.metadata.publish(readyRecord(before, item, ingested), { jobId: run.jobId, item: settled });
    } catch (thrown) {
      // A store may fail after its commit; then the document is published nevertheless.
      if (this.deps.metadata.getDocument(collection, item.documentId)?.revision !== revision) throw thrown;
    }
    await this.#removeOld(run, revision);
    return settled;
  }

  async #unchanged(run: Run): Promise<JobItem> {
    const { jobId, item, before } = run;
    const { chunks, pages, title } = before;
    const settled: JobItem = { ...item, title, status: 'unchanged', chunks, embedded: 0, pages };
    const { error: _, ...document } = before;
    this.deps.metadata.publish(document, { jobId, item: settled });
    if (run.leftovers !== undefined) await this.#removeOld(run, before.revision);
    return settled;
  }

  async #read(item: JobItem, { signal, onProgress }: IngestOptions): Promise<ReadDocument> {
    onProgress?.({ stage: 'read', done: 0, total: 1 });
    return this.#reader.read(
      { path: this.deps.staging.path(item.stagedFile), name: item.source, mediaType: item.mediaType },
      { signal, onPage: (done, total) => onProgress?.({ stage: 'read', done, total }) },
    );
  }

  /** Chunks that with their title fit the model, whatever the settings say. */
  async #chunk(
    document: ReadDocument,
    { title, model }: { title: string; model: EmbeddingModel },
    { signal, onProgress }: IngestOptions,
  ): Promise<Chunk[]> {
    const { chunkTokens, chunkOverlapTokens } = this.#options;
    const countTokens = (texts: readonly string[]) =>
      this.#embedder.countTokens(texts, { space: model.space, signal });
    const [titleTokens = 0] = title === '' ? [0] : await countTokens([title]);
    const room = model.maxTokens - model.specialTokens - titleTokens;
    return chunk(document, {
      countTokens,
      maxTokens: Math.max(LEAST_CHUNK_TOKENS, Math.min(chunkTokens, room)),
      overlapTokens: chunkOverlapTokens,
      signal,
      onProgress: (done, total) => onProgress?.({ stage: 'chunk', done, total }),
    });
  }

  /** Vectors of the visible revision, and of what an interrupted ingest left. */
  async #known({ collection, item, before, leftovers = [] }: Run): Promise<Map<string, Float32Array>> {
    const revisions = before.revision === '' ? leftovers : [before.revision, ...leftovers];
    const known = new Map<string, Float32Array>();
    for (const revision of revisions) {
      const vectors = await this.deps.vectors.vectorsByHash(collection, item.documentId, revision);
      for (const [hash, vector] of vectors) known.set(hash, vector);
    }
    return known;
  }

  /** The document is published: what can't be removed now is invisible, and goes at the next start. */
  async #removeOld({ collection, item, before, leftovers }: Run, revision: string): Promise<void> {
    if (before.revision === '' && leftovers === undefined) return;
    try {
      await this.deps.vectors.deleteDocument(collection, item.documentId, { exceptRevision: revision });
    } catch (thrown) {
      this.#warn(item, 'the old revision of a document could not be removed yet', thrown);
    }
  }

  async #discard({ collection, item }: IngestTask, revisions: readonly string[]): Promise<void> {
    try {
      for (const revision of revisions) {
        await this.deps.vectors.deleteDocument(collection, item.documentId, { revision });
      }
    } catch (thrown) {
      this.#warn(item, 'rows of a failed ingest could not be removed yet', thrown);
    }
  }

  /** Whether readers may see this revision; when the store can't say, its rows are left for the next start to judge. */
  #mayBeVisible({ collection, item }: IngestTask, revision: string): boolean {
    try {
      return this.deps.metadata.getDocument(collection, item.documentId)?.revision === revision;
    } catch {
      return true;
    }
  }

  #warn(item: JobItem, message: string, thrown: unknown): void {
    const error = RagError.from(thrown);
    this.#options.log?.warn(
      { documentId: item.documentId, reason: error.reason, error: error.message },
      message,
    );
  }
}

/** A task on its way. */
interface Run extends IngestTask {
  /** The document's record when the ingest began. */
  before: DocumentRecord;
  revision: string;
}
