import { mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Connection, connect, Session } from '@lancedb/lancedb';
import { RagError } from '../errors.ts';
import type { ChunkWithVector, CollectionInfo, ScoredChunk, VectorStore } from '../ports.ts';
import { checkCollectionName, checkSpace, checkVector, noSuchCollection } from './collection.ts';
import { LanceTable } from './lancedb-table.ts';
import { Slots } from './slots.ts';

// LanceDB's own defaults are 6 GB and 1 GB.
const indexCacheBytes = 32n * 1024n * 1024n;
const metadataCacheBytes = 16n * 1024n * 1024n;

// One exact search uses every core and tens of MB. More at once gain nothing: 100 of them took 3.5 GB at 20,000 rows.
const readsAtOnce = 2;

export interface LanceDbOptions {
  /** Folder that holds the tables; it is made when missing. */
  folder: string;
  /**
   * Rows from which `optimize` builds an approximate vector index. Below it every dense search is exact; that takes
   * some 40 ms at 50,000 rows of 384 dimensions. Default 50,000.
   */
  approximateFromRows?: number | undefined;
}

/**
 * Opens the embedded vector store: one LanceDB table for each collection.
 * @throws RagError STORE_UNAVAILABLE when the folder can't be made or read
 */
export async function openLanceDb(options: LanceDbOptions): Promise<VectorStore> {
  const folder = resolve(options.folder);
  try {
    await mkdir(folder, { recursive: true });
    const connection = await connect(folder, { session: new Session(indexCacheBytes, metadataCacheBytes) });
    return new LanceDbStore(connection, folder, options.approximateFromRows ?? 50_000);
  } catch (thrown) {
    throw storeError(folder, thrown);
  }
}

class LanceDbStore implements VectorStore {
  readonly description: string;
  readonly #connection: Connection;
  readonly #folder: string;
  readonly #approximateFromRows: number;
  readonly #tables = new Map<string, LanceTable>();
  /** Settles, never rejects, when everything queued for that collection is done. */
  readonly #queues = new Map<string, Promise<void>>();
  readonly #reads = new Slots(readsAtOnce);
  #closing: Promise<void> | undefined;

  constructor(connection: Connection, folder: string, approximateFromRows: number) {
    this.#connection = connection;
    this.#folder = folder;
    this.#approximateFromRows = approximateFromRows;
    this.description = `LanceDB in ${folder}`;
  }

  async ensureCollection(info: CollectionInfo): Promise<void> {
    await this.#inTurn(info.name, async () => {
      const existing = await this.#open(info.name);
      if (existing) return checkSpace(existing.info, info);
      await LanceTable.create(this.#connection, info);
      await this.#open(info.name);
    });
  }

  async getCollection(name: string): Promise<CollectionInfo | undefined> {
    return (await this.#known(name))?.info;
  }

  async listCollections(): Promise<CollectionInfo[]> {
    const names = await this.#guard(() => this.#connection.tableNames());
    const found = await Promise.all(names.map((name) => this.getCollection(name)));
    return found.filter((info) => info !== undefined);
  }

  async dropCollection(name: string): Promise<void> {
    await this.#inTurn(name, async () => {
      const table = await this.#open(name);
      if (!table) return;
      this.#tables.delete(name);
      await this.#connection.dropTable(name);
      table.close();
    });
  }

  async upsert(collection: string, chunks: readonly ChunkWithVector[]): Promise<void> {
    await this.#inTurn(collection, async () => {
      const table = await this.#open(collection);
      if (!table) throw noSuchCollection(collection);
      for (const chunk of chunks) checkVector(table.info, chunk.vector, `chunk ${chunk.chunkId}`);
      if (chunks.length > 0) await table.upsert(chunks);
    });
    this.#compactSoon(collection);
  }

  async deleteDocument(
    collection: string,
    documentId: string,
    only?: { revision: string } | { exceptRevision: string },
  ): Promise<void> {
    await this.#inTurn(collection, async () => {
      await (await this.#open(collection))?.deleteDocument(documentId, only);
    });
    this.#compactSoon(collection);
  }

  async vectorsByHash(
    collection: string,
    documentId: string,
    revision: string,
  ): Promise<Map<string, Float32Array>> {
    return this.#read(collection, async (table) => table?.vectorsByHash(documentId, revision) ?? new Map());
  }

  async listRevisions(collection: string): ReturnType<VectorStore['listRevisions']> {
    return this.#read(collection, async (table) => table?.listRevisions() ?? []);
  }

  async searchDense(collection: string, vector: Float32Array, limit: number): Promise<ScoredChunk[]> {
    return this.#read(collection, async (table) => {
      if (!table) return [];
      checkVector(table.info, vector, 'the query');
      return table.searchDense(vector, limit);
    });
  }

  async searchText(collection: string, query: string, limit: number): Promise<ScoredChunk[]> {
    return this.#read(collection, async (table) => table?.searchText(query, limit) ?? []);
  }

  async optimize(collection: string): Promise<void> {
    await this.#inTurn(collection, async () => {
      const table = await this.#open(collection);
      await table?.compact();
      await table?.indexVectors(this.#approximateFromRows);
    });
  }

  close(): Promise<void> {
    this.#closing ??= (async () => {
      await Promise.all(this.#queues.values());
      for (const table of this.#tables.values()) table.close();
      this.#connection.close();
    })();
    return this.#closing;
  }

  #compactSoon(collection: string): void {
    const table = this.#tables.get(collection);
    if (!table?.compactionDue || this.#closing) return;
    // A failure shows itself in the next write or in `optimize`; here nobody waits for it.
    this.#inTurn(collection, async () => {
      if (table.compactionDue) await table.compact();
    }).catch(() => {});
  }

  async #read<T>(name: string, action: (table: LanceTable | undefined) => Promise<T>): Promise<T> {
    const table = await this.#known(name);
    return this.#reads.run(() => this.#guard(() => action(table)));
  }

  async #known(name: string): Promise<LanceTable | undefined> {
    checkCollectionName(name);
    if (!this.#tables.has(name)) await this.#inTurn(name, async () => void (await this.#open(name)));
    return this.#tables.get(name);
  }

  /** Only within a turn, so that a table is never opened twice at once. */
  async #open(name: string): Promise<LanceTable | undefined> {
    const known = this.#tables.get(name);
    if (known) return known;
    const table = await LanceTable.open(this.#connection, name);
    if (table) this.#tables.set(name, table);
    return table;
  }

  /** One after the other for each collection: two writes at once would conflict in LanceDB, and one could fail. */
  async #inTurn(name: string, action: () => Promise<void>): Promise<void> {
    checkCollectionName(name);
    const before = this.#queues.get(name) ?? Promise.resolve();
    const turn = this.#guard(() => before.then(action));
    const settled = turn.catch(() => {});
    this.#queues.set(name, settled);
    try {
      await turn;
    } finally {
      if (this.#queues.get(name) === settled) this.#queues.delete(name);
    }
  }

  async #guard<T>(action: () => Promise<T>): Promise<T> {
    if (this.#closing) throw new RagError('STOPPING', `The vector store in ${this.#folder} is closed.`);
    try {
      return await action();
    } catch (thrown) {
      throw storeError(this.#folder, thrown);
    }
  }
}

function storeError(folder: string, thrown: unknown): RagError {
  if (thrown instanceof RagError) return thrown;
  // LanceDB appends where in its own sources an error arose.
  const message = (thrown instanceof Error ? thrown.message : String(thrown)).split(/, \/\S+\.rs:\d+/)[0];
  return new RagError(
    'STORE_UNAVAILABLE',
    `The vector store in ${folder} failed: ${message?.slice(0, 500)}. Check that the folder is readable and writable ` +
      'and that the disk is not full.',
    { cause: thrown },
  );
}
