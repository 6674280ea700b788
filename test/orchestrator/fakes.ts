import { RagError } from '../../orchestrator/errors.ts';
import type {
  ChunkWithVector,
  CollectionInfo,
  DocumentRecord,
  JobItem,
  JobRecord,
  JobStatus,
  MetadataStore,
  ScoredChunk,
  VectorStore,
} from '../../orchestrator/ports.ts';
import type { Probe } from './fake-embedder.ts';

export { FakeEmbedder, fakeTokens, fakeVector, type Probe } from './fake-embedder.ts';

interface Collection {
  info: CollectionInfo;
  chunks: Map<string, ChunkWithVector>;
}

/** Vectors in memory; full text scores by the number of query words that a chunk has. */
export class MemoryVectorStore implements VectorStore {
  readonly description = 'memory';
  probe: Probe = {};
  readonly collections = new Map<string, Collection>();
  readonly optimized: string[] = [];

  async #enter(call: string): Promise<void> {
    this.probe.before?.(call);
    await this.probe.gate?.(call, undefined);
  }

  async ensureCollection(info: CollectionInfo): Promise<void> {
    await this.#enter('ensureCollection');
    const existing = this.collections.get(info.name)?.info;
    if (existing !== undefined && (existing.space !== info.space || existing.dimension !== info.dimension)) {
      throw new RagError(
        'SPACE_MISMATCH',
        `Collection "${info.name}" has space ${existing.space}, not ${info.space}.`,
      );
    }
    if (existing === undefined) this.collections.set(info.name, { info: { ...info }, chunks: new Map() });
    this.probe.after?.('ensureCollection');
  }

  async getCollection(name: string): Promise<CollectionInfo | undefined> {
    await this.#enter('getCollection');
    return this.collections.get(name)?.info;
  }

  async listCollections(): Promise<CollectionInfo[]> {
    await this.#enter('listCollections');
    return [...this.collections.values()].map(({ info }) => info);
  }

  async dropCollection(name: string): Promise<void> {
    this.collections.delete(name);
  }

  async upsert(collection: string, chunks: readonly ChunkWithVector[]): Promise<void> {
    await this.#enter('upsert');
    const rows = this.collections.get(collection)?.chunks;
    if (rows === undefined) throw new RagError('NOT_FOUND', `There is no collection "${collection}".`);
    for (const chunk of chunks) rows.set(chunk.chunkId, { ...chunk });
    this.probe.after?.('upsert');
  }

  async deleteDocument(
    collection: string,
    documentId: string,
    only?: { revision: string } | { exceptRevision: string },
  ): Promise<void> {
    await this.#enter('deleteDocument');
    const rows = this.collections.get(collection)?.chunks ?? new Map<string, ChunkWithVector>();
    for (const [id, chunk] of rows) {
      if (chunk.documentId !== documentId) continue;
      if (only !== undefined && 'revision' in only && chunk.revision !== only.revision) continue;
      if (only !== undefined && 'exceptRevision' in only && chunk.revision === only.exceptRevision) continue;
      rows.delete(id);
    }
    this.probe.after?.('deleteDocument');
  }

  async vectorsByHash(
    collection: string,
    documentId: string,
    revision: string,
  ): Promise<Map<string, Float32Array>> {
    await this.#enter('vectorsByHash');
    const rows = this.chunks(collection).filter(
      (row) => row.documentId === documentId && row.revision === revision,
    );
    return new Map(rows.map((row) => [row.contentHash, row.vector]));
  }

  async listRevisions(
    collection: string,
  ): Promise<{ documentId: string; revision: string; chunks: number }[]> {
    await this.#enter('listRevisions');
    const found = new Map<string, { documentId: string; revision: string; chunks: number }>();
    for (const { documentId, revision } of this.chunks(collection)) {
      const key = JSON.stringify([documentId, revision]);
      const entry = found.get(key) ?? { documentId, revision, chunks: 0 };
      found.set(key, { ...entry, chunks: entry.chunks + 1 });
    }
    return [...found.values()];
  }

  async searchDense(collection: string, vector: Float32Array, limit: number): Promise<ScoredChunk[]> {
    await this.#enter('searchDense');
    const cosine = (row: ChunkWithVector) =>
      row.vector.reduce((sum, value, i) => sum + value * vector[i]!, 0);
    return this.#best(collection, limit, cosine);
  }

  async searchText(collection: string, query: string, limit: number): Promise<ScoredChunk[]> {
    await this.#enter('searchText');
    const words = query.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
    const matches = (row: ChunkWithVector) => {
      const text = `${row.title} ${row.text}`.toLowerCase();
      return words.filter((word) => text.includes(word)).length;
    };
    return this.#best(collection, limit, matches).filter(({ score }) => score > 0);
  }

  async optimize(collection: string): Promise<void> {
    await this.#enter('optimize');
    this.optimized.push(collection);
  }

  async close(): Promise<void> {}

  /** Every row of a collection, visible or not. */
  chunks(collection: string): ChunkWithVector[] {
    return [...(this.collections.get(collection)?.chunks.values() ?? [])];
  }

  #best(collection: string, limit: number, score: (row: ChunkWithVector) => number): ScoredChunk[] {
    return this.chunks(collection)
      .map(({ vector, ...row }) => ({ ...row, score: score({ ...row, vector }) }))
      .toSorted((a, b) => b.score - a.score)
      .slice(0, limit);
  }
}

/** Metadata in memory; records are copied in and out, as a database would. */
export class MemoryMetadataStore implements MetadataStore {
  probe: Probe = {};
  readonly #documents = new Map<string, DocumentRecord>();
  readonly #jobs = new Map<string, JobRecord>();

  #write<T>(call: string, effect: () => T): T {
    this.probe.before?.(call);
    const result = effect();
    this.probe.after?.(call);
    return result;
  }

  putDocument(document: DocumentRecord): void {
    this.#write('putDocument', () => this.#put(document));
  }

  #put(document: DocumentRecord): void {
    this.#documents.set(JSON.stringify([document.collection, document.id]), structuredClone(document));
  }

  getDocument(collection: string, id: string): DocumentRecord | undefined {
    return structuredClone(this.#documents.get(JSON.stringify([collection, id])));
  }

  visibleRevisions(collection: string, ids: readonly string[]): Map<string, string> {
    const visible = new Map<string, string>();
    for (const id of ids) {
      const document = this.getDocument(collection, id);
      if (document !== undefined && document.revision !== '' && document.status !== 'deleting') {
        visible.set(id, document.revision);
      }
    }
    return visible;
  }

  listDocuments(
    collection: string | undefined,
    { limit, offset }: { limit: number; offset: number },
  ): { documents: DocumentRecord[]; total: number } {
    const all = [...this.#documents.values()].filter(
      (document) => collection === undefined || document.collection === collection,
    );
    const newest = all.toReversed().slice(offset, offset + limit);
    return { documents: structuredClone(newest), total: all.length };
  }

  allRevisions(collection: string): { id: string; revision: string; status: DocumentRecord['status'] }[] {
    const all = [...this.#documents.values()].filter((document) => document.collection === collection);
    return all.map(({ id, revision, status }) => ({ id, revision, status }));
  }

  removeDocument(collection: string, id: string): void {
    this.#write('removeDocument', () => this.#documents.delete(JSON.stringify([collection, id])));
  }

  publish(document: DocumentRecord, item?: { jobId: string; item: JobItem }): void {
    this.#write('publish', () => {
      this.#put(document);
      if (item !== undefined) this.#update(item.jobId, item.item);
    });
  }

  putJob(job: JobRecord): void {
    this.#write('putJob', () => this.#jobs.set(job.id, structuredClone(job)));
  }

  getJob(id: string): JobRecord | undefined {
    return structuredClone(this.#jobs.get(id));
  }

  updateJobItem(jobId: string, item: JobItem, status?: JobStatus): void {
    this.#write('updateJobItem', () => this.#update(jobId, item, status));
  }

  #update(jobId: string, item: JobItem, status?: JobStatus): void {
    const job = this.#jobs.get(jobId);
    if (job === undefined) return;
    job.items[item.index] = structuredClone(item);
    if (status !== undefined) job.status = status;
  }

  unfinishedJobs(): JobRecord[] {
    const unfinished = [...this.#jobs.values()].filter(
      ({ status }) => status === 'queued' || status === 'running',
    );
    return structuredClone(unfinished);
  }

  countUnfinishedJobs(): number {
    return this.unfinishedJobs().length;
  }

  close(): void {}
}
