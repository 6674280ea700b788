import { BooleanQuery, type Connection, Index, MatchQuery, Occur, type Table } from '@lancedb/lancedb';
import type { Schema } from 'apache-arrow';
import type { ChunkWithVector, CollectionInfo, ScoredChunk, VectorStore } from '../ports.ts';
import {
  chunkColumns,
  collectionOf,
  fromRow,
  fullTextIndex,
  type Row,
  searchColumn,
  sqlString,
  tableSchema,
  toTable,
} from './lancedb-row.ts';
import { RevisionTally } from './revision-tally.ts';

// Every text search scans the rows that its index does not know yet, at some 60 microseconds each.
const leastUnindexedRows = 1_000;
const mostUnindexedShare = 1 / 20;
const mostWrites = 256;

// A read that hangs would hold up every later compaction of its table.
const readTimeoutMs = 60_000;

const probes = 64;
const refineFactor = 10;

/** One collection's table. Writes must not overlap (the store sees to it); reads may. */
export class LanceTable {
  readonly info: CollectionInfo;
  readonly #table: Table;
  readonly #schema: Schema;
  #rows: number;
  #unindexedRows: number;
  #writes = 0;
  readonly #reading = new Set<Promise<unknown>>();

  private constructor(
    table: Table,
    info: CollectionInfo,
    options: { schema: Schema; rows: number; unindexedRows: number },
  ) {
    this.#table = table;
    this.info = info;
    this.#schema = options.schema;
    this.#rows = options.rows;
    this.#unindexedRows = options.unindexedRows;
  }

  static async create(connection: Connection, info: CollectionInfo): Promise<void> {
    await connection.createEmptyTable(info.name, tableSchema(info));
  }

  /** Undefined when there is no such table, or none of ours. */
  static async open(connection: Connection, name: string): Promise<LanceTable | undefined> {
    const table = await connection.openTable(name).catch((thrown: unknown) => {
      if (thrown instanceof Error && thrown.message.includes('was not found')) return undefined;
      throw thrown;
    });
    if (!table) return undefined;
    const schema = await table.schema();
    const info = collectionOf(name, schema);
    if (!info) return undefined;
    // Missing when the program ended between making the table and its index. The index also names the tokenizer.
    const indexes = await table.listIndices();
    let index = indexes.find((one) => one.columns.includes(searchColumn));
    if (!index) {
      await table.createIndex(searchColumn, { config: fullTextIndex() });
      index = (await table.listIndices()).find((one) => one.columns.includes(searchColumn));
    }
    const rows = await table.countRows();
    return new LanceTable(table, info, { schema, rows, unindexedRows: index?.numUnindexedRows ?? rows });
  }

  async upsert(chunks: readonly ChunkWithVector[]): Promise<void> {
    await this.#table
      .mergeInsert('chunk_id')
      .whenMatchedUpdateAll()
      .whenNotMatchedInsertAll()
      .execute(toTable(chunks, this.#schema));
    this.#writes += 1;
    this.#rows += chunks.length;
    this.#unindexedRows += chunks.length;
  }

  async deleteDocument(
    documentId: string,
    only: { revision: string } | { exceptRevision: string } | undefined,
  ): Promise<void> {
    let filter = `document_id = ${sqlString(documentId)}`;
    if (only && 'revision' in only) filter += ` AND revision = ${sqlString(only.revision)}`;
    if (only && 'exceptRevision' in only) filter += ` AND revision <> ${sqlString(only.exceptRevision)}`;
    await this.#table.delete(filter);
    this.#writes += 1;
  }

  async vectorsByHash(documentId: string, revision: string): Promise<Map<string, Float32Array>> {
    const query = this.#table
      .query()
      .where(`document_id = ${sqlString(documentId)} AND revision = ${sqlString(revision)}`)
      .select(['content_hash', 'vector']);
    const rows: { content_hash: string; vector: { toArray(): Float32Array } }[] = await this.#read(() =>
      query.toArray({ timeoutMs: readTimeoutMs }),
    );
    return new Map(rows.map((row) => [row.content_hash, row.vector.toArray().slice()]));
  }

  async listRevisions(): ReturnType<VectorStore['listRevisions']> {
    const tally = new RevisionTally();
    await this.#read(async () => {
      for await (const batch of this.#table.query().select(['document_id', 'revision'])) {
        const documentIds = batch.getChild('document_id');
        const revisions = batch.getChild('revision');
        for (let row = 0; row < batch.numRows; row += 1) {
          tally.add(String(documentIds?.get(row)), String(revisions?.get(row)));
        }
      }
    });
    return tally.list();
  }

  async searchDense(vector: Float32Array, limit: number): Promise<ScoredChunk[]> {
    const query = this.#table
      .vectorSearch(vector)
      .distanceType('cosine')
      .nprobes(probes)
      .refineFactor(refineFactor)
      .select([...chunkColumns, '_distance'])
      .limit(limit);
    const rows: (Row & { _distance: number })[] = await this.#read(() =>
      query.toArray({ timeoutMs: readTimeoutMs }),
    );
    return rows.map((row) => ({ ...fromRow(row), score: 1 - row._distance }));
  }

  async searchText(words: string, limit: number): Promise<ScoredChunk[]> {
    // While no row at all is indexed, LanceDB 0.37 forgets to sort a lone MatchQuery; inside a BooleanQuery it does sort.
    const text = new BooleanQuery([[Occur.Should, new MatchQuery(words, searchColumn)]]);
    const query = this.#table
      .query()
      .fullTextSearch(text)
      .select([...chunkColumns, '_score'])
      .limit(limit);
    const rows: (Row & { _score: number })[] = await this.#read(() =>
      query.toArray({ timeoutMs: readTimeoutMs }),
    );
    return rows.map((row) => ({ ...fromRow(row), score: row._score }));
  }

  /** Whether so much was written since the last compaction that searches get slow. */
  get compactionDue(): boolean {
    const mostUnindexedRows = Math.max(leastUnindexedRows, this.#rows * mostUnindexedShare);
    return this.#unindexedRows >= mostUnindexedRows || this.#writes >= mostWrites;
  }

  /** Merges small files, folds new rows into the indexes and removes the files of versions that nobody reads any more. */
  async compact(): Promise<void> {
    this.#writes = 0;
    this.#unindexedRows = 0;
    const olderThanThis = new Date();
    await this.#table.optimize();
    // Reads under way may still need the files of older versions; reads that begin from here on see a newer one.
    await Promise.allSettled(this.#reading);
    await this.#table.optimize({ cleanupOlderThan: olderThanThis });
    this.#rows = await this.#table.countRows();
  }

  /** Builds the approximate vector index once the table has `fromRows` rows; `compact` keeps it up to date. */
  async indexVectors(fromRows: number): Promise<void> {
    // IVF_RQ keeps one bit for each dimension, in whole bytes; other dimensions stay exact.
    if (this.#rows < fromRows || this.info.dimension % 8 !== 0) return;
    const indexes = await this.#table.listIndices();
    if (indexes.some((index) => index.columns.includes('vector'))) return;
    const numPartitions = Math.ceil(Math.sqrt(this.#rows));
    await this.#table.createIndex('vector', {
      config: Index.ivfRq({ distanceType: 'cosine', numPartitions }),
    });
  }

  close(): void {
    this.#table.close();
  }

  async #read<T>(action: () => Promise<T>): Promise<T> {
    const reading = action();
    this.#reading.add(reading);
    try {
      return await reading;
    } finally {
      this.#reading.delete(reading);
    }
  }
}
