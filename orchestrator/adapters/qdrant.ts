import { QdrantClient, type Schemas } from '@qdrant/js-client-rest';
import { RagError } from '../errors.ts';
import type { ChunkWithVector, CollectionInfo, ScoredChunk, VectorStore } from '../ports.ts';
import { checkCollectionName, checkSpace, checkVector, noSuchCollection } from './collection.ts';
import { qdrantError, statusOf } from './qdrant-error.ts';
import { denseName, fromPayload, sparseName, toPoint } from './qdrant-point.ts';
import { RevisionTally } from './revision-tally.ts';
import { sparseQuery } from './sparse-text.ts';

// A point of 384 dimensions is some 10 KB of JSON; Qdrant takes bodies of 32 MB.
const pointsPerRequest = 64;
const vectorsPerPage = 256;
const payloadsPerPage = 1_000;

const spaceKey = 'nereid_space';
const indexedFields = ['documentId', 'revision'];

export interface QdrantOptions {
  /** For example http://127.0.0.1:6333; a path in it is kept as prefix. Port 6333 when it names none. */
  url: string;
  apiKey?: string | undefined;
  /** Milliseconds that one request may take. Default 30,000. */
  timeoutMs?: number | undefined;
}

/**
 * Opens a Qdrant server (1.16 or newer) as vector store: cosine over a dense vector, and BM25 over a sparse one whose
 * inverse document frequencies the server keeps. Asks nothing of the server yet, so that it may come up later.
 * @throws RagError INVALID_INPUT when the URL is none
 */
export async function openQdrant(options: QdrantOptions): Promise<VectorStore> {
  if (!URL.canParse(options.url) || !/^https?:/.test(options.url)) {
    throw new RagError('INVALID_INPUT', 'The Qdrant URL is not usable. Give one like http://127.0.0.1:6333.');
  }
  const { protocol, hostname, pathname } = new URL(options.url);
  // URL drops a port that is the scheme's own, but 443 in an https URL is meant.
  const port = /^https?:\/\/(?:[^/@]*@)?[^/@]*:(\d+)(?:\/|$)/.exec(options.url)?.[1] ?? '6333';
  const prefix = pathname.replace(/\/+$/, '');
  const client = new QdrantClient({
    url: `${protocol}//${hostname}`,
    port: Number(port),
    ...(prefix !== '' && { prefix }),
    // Not `apiKey`: the client prints a warning for it on plain HTTP, loopback included.
    ...(options.apiKey && { headers: { 'api-key': options.apiKey } }),
    timeout: options.timeoutMs ?? 30_000,
    checkCompatibility: false,
  });
  return new QdrantStore(client, `${protocol}//${hostname}:${port}${prefix}`);
}

class QdrantStore implements VectorStore {
  readonly description: string;
  readonly #client: QdrantClient;
  readonly #where: string;
  /** Collections seen so far, for checks before a request. */
  readonly #known = new Map<string, CollectionInfo>();
  #closed = false;

  constructor(client: QdrantClient, where: string) {
    this.#client = client;
    this.#where = where;
    this.description = `Qdrant at ${where}`;
  }

  async ensureCollection(info: CollectionInfo): Promise<void> {
    checkCollectionName(info.name);
    await this.#guard(async () => {
      const found = (await this.#describe(info.name)) ?? (await this.#create(info));
      const existing = this.#remember(info.name, found);
      if (!existing) {
        throw new RagError(
          'INVALID_INPUT',
          `Qdrant at ${this.#where} already has a collection "${info.name}" that was not made by Nereid. Choose another name.`,
        );
      }
      checkSpace(existing, info);
      for (const field_name of indexedFields) {
        if (found.payload_schema[field_name]) continue;
        await this.#client.createPayloadIndex(info.name, { field_name, field_schema: 'keyword', wait: true });
      }
    });
  }

  async getCollection(name: string): Promise<CollectionInfo | undefined> {
    checkCollectionName(name);
    return this.#guard(async () => this.#remember(name, await this.#describe(name)));
  }

  async listCollections(): Promise<CollectionInfo[]> {
    const { collections } = await this.#guard(() => this.#client.getCollections());
    const usable = collections.filter(({ name }) => /^[A-Za-z0-9._-]{1,64}$/.test(name));
    const infos = await Promise.all(usable.map(({ name }) => this.getCollection(name)));
    return infos.filter((info) => info !== undefined);
  }

  async dropCollection(name: string): Promise<void> {
    if (!(await this.getCollection(name))) return;
    this.#known.delete(name);
    await this.#guard(() => this.#client.deleteCollection(name));
  }

  async upsert(collection: string, chunks: readonly ChunkWithVector[]): Promise<void> {
    const info = this.#known.get(collection) ?? (await this.getCollection(collection));
    if (!info) throw noSuchCollection(collection);
    for (const chunk of chunks) checkVector(info, chunk.vector, `chunk ${chunk.chunkId}`);
    const unique = [...new Map(chunks.map((chunk) => [chunk.chunkId, chunk])).values()];
    for (let from = 0; from < unique.length; from += pointsPerRequest) {
      const points = unique.slice(from, from + pointsPerRequest).map(toPoint);
      const written = await this.#orMissing(collection, () =>
        this.#client.upsert(collection, { points, wait: true }),
      );
      if (!written) throw noSuchCollection(collection);
    }
  }

  async deleteDocument(
    collection: string,
    documentId: string,
    only?: { revision: string } | { exceptRevision: string },
  ): Promise<void> {
    const filter: Schemas['Filter'] = { must: [equals('documentId', documentId)] };
    if (only && 'revision' in only)
      filter.must = [equals('documentId', documentId), equals('revision', only.revision)];
    if (only && 'exceptRevision' in only) filter.must_not = [equals('revision', only.exceptRevision)];
    await this.#orMissing(collection, () => this.#client.delete(collection, { filter, wait: true }));
  }

  async vectorsByHash(
    collection: string,
    documentId: string,
    revision: string,
  ): Promise<Map<string, Float32Array>> {
    const found = new Map<string, Float32Array>();
    const pages = this.#scroll(collection, {
      filter: { must: [equals('documentId', documentId), equals('revision', revision)] },
      with_payload: ['contentHash'],
      with_vector: [denseName],
      limit: vectorsPerPage,
    });
    for await (const { payload, vector } of pages) {
      const dense = vector && denseName in vector ? vector[denseName] : undefined;
      if (Array.isArray(dense)) found.set(String(payload?.contentHash), Float32Array.from(dense.map(Number)));
    }
    return found;
  }

  async listRevisions(collection: string): ReturnType<VectorStore['listRevisions']> {
    const tally = new RevisionTally();
    const pages = this.#scroll(collection, {
      with_payload: ['documentId', 'revision'],
      limit: payloadsPerPage,
    });
    for await (const { payload } of pages) tally.add(String(payload?.documentId), String(payload?.revision));
    return tally.list();
  }

  async searchDense(collection: string, vector: Float32Array, limit: number): Promise<ScoredChunk[]> {
    const info = this.#known.get(collection) ?? (await this.getCollection(collection));
    if (!info) return [];
    checkVector(info, vector, 'the query');
    return this.#search(collection, { query: Array.from(vector), using: denseName, limit });
  }

  async searchText(collection: string, query: string, limit: number): Promise<ScoredChunk[]> {
    const sparse = sparseQuery(query);
    checkCollectionName(collection);
    if (sparse.indices.length === 0) return [];
    return this.#search(collection, { query: sparse, using: sparseName, limit });
  }

  /** Nothing to do: the server optimizes by itself. */
  async optimize(collection: string): Promise<void> {
    checkCollectionName(collection);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  async #search(collection: string, request: Schemas['QueryRequest']): Promise<ScoredChunk[]> {
    const found = await this.#orMissing(collection, () =>
      this.#client.query(collection, { ...request, with_payload: true }),
    );
    return (found?.points ?? []).map((point) => ({ ...fromPayload(point.payload), score: point.score }));
  }

  async *#scroll(collection: string, request: Schemas['ScrollRequest']): AsyncGenerator<Schemas['Record']> {
    let offset: Schemas['ScrollRequest']['offset'];
    do {
      const page = await this.#orMissing(collection, () =>
        this.#client.scroll(collection, { ...request, ...(offset != null && { offset }) }),
      );
      yield* page?.points ?? [];
      offset = page?.next_page_offset as typeof offset;
    } while (offset != null);
  }

  async #create(info: CollectionInfo): Promise<Schemas['CollectionInfo']> {
    try {
      // Through `api()` because the client's own method drops the metadata.
      await this.#client.api().createCollection({
        collection_name: info.name,
        vectors: { [denseName]: { size: info.dimension, distance: 'Cosine' } },
        sparse_vectors: { [sparseName]: { modifier: 'idf' } },
        metadata: { [spaceKey]: info.space },
      });
    } catch (thrown) {
      // Another caller was faster; what it made is checked like any other.
      if (statusOf(thrown) === 409) return this.#client.getCollection(info.name);
      throw thrown;
    }
    const created = await this.#client.getCollection(info.name);
    if (created.config.metadata) return created;
    const { version } = await this.#client.versionInfo();
    await this.#client.deleteCollection(info.name);
    throw new RagError(
      'STORE_UNAVAILABLE',
      `Qdrant at ${this.#where} has version ${version}, which can't keep what a collection's vectors are. Use 1.16 or newer.`,
    );
  }

  async #describe(name: string): Promise<Schemas['CollectionInfo'] | undefined> {
    try {
      return await this.#client.getCollection(name);
    } catch (thrown) {
      if (statusOf(thrown) === 404) return undefined;
      throw thrown;
    }
  }

  /** Undefined when there is no such collection, or none of ours. */
  #remember(name: string, found: Schemas['CollectionInfo'] | undefined): CollectionInfo | undefined {
    const space = found?.config.metadata?.[spaceKey];
    const vectors = found?.config.params.vectors;
    const dense = vectors && denseName in vectors ? vectors[denseName] : undefined;
    if (typeof space !== 'string' || typeof dense !== 'object') {
      this.#known.delete(name);
      return undefined;
    }
    const info = { name, space, dimension: Number(dense.size) };
    this.#known.set(name, info);
    return info;
  }

  /** Undefined when the collection does not exist (any more). */
  async #orMissing<T>(collection: string, action: () => Promise<T>): Promise<T | undefined> {
    checkCollectionName(collection);
    return this.#guard(async () => {
      try {
        return await action();
      } catch (thrown) {
        if (statusOf(thrown) !== 404) throw thrown;
        this.#known.delete(collection);
        return undefined;
      }
    });
  }

  async #guard<T>(action: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new RagError('STOPPING', `The connection to Qdrant at ${this.#where} is closed.`);
    try {
      return await action();
    } catch (thrown) {
      throw qdrantError(this.#where, thrown);
    }
  }
}

function equals(key: 'documentId' | 'revision', value: string): Schemas['FieldCondition'] {
  return { key, match: { value: value.toWellFormed() } };
}
