import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { RagError } from '../errors.ts';
import type {
  DocumentRecord,
  DocumentStatus,
  JobItem,
  JobRecord,
  JobStatus,
  MetadataStore,
} from '../ports.ts';
import {
  documentColumns,
  documentFromRow,
  documentToRow,
  itemColumns,
  itemToRow,
  jobFromRow,
} from './sqlite-row.ts';
import { databaseError, openDatabase } from './sqlite-schema.ts';

/**
 * Settled jobs that are kept, the newest; older ones are asked for no more, and kept for ever they would fill the
 * disk of a server that ingests all day.
 */
export const maxSettledJobs = 1_000;

const unfinished = "status IN ('queued', 'running')";
const named = (columns: string) => columns.replaceAll(/\w+/g, ':$&');
const assigned = (columns: string) => columns.replaceAll(/\w+/g, '$& = excluded.$&');

const sql = {
  putDocument: `INSERT INTO documents (${documentColumns}) VALUES (${named(documentColumns)})
    ON CONFLICT (collection, id) DO UPDATE SET ${assigned(documentColumns)}`,
  getDocument: `SELECT ${documentColumns} FROM documents WHERE collection = ? AND id = ?`,
  visibleRevisions: `SELECT id, revision FROM documents
    WHERE collection = ? AND id IN (SELECT value FROM json_each(?)) AND revision <> '' AND status <> 'deleting'`,
  listAll: `SELECT ${documentColumns} FROM documents ORDER BY created_at DESC, seq DESC LIMIT ? OFFSET ?`,
  countAll: 'SELECT count(*) AS total FROM documents',
  listCollection: `SELECT ${documentColumns} FROM documents WHERE collection = ?
    ORDER BY created_at DESC, seq DESC LIMIT ? OFFSET ?`,
  countCollection: 'SELECT count(*) AS total FROM documents WHERE collection = ?',
  allRevisions: 'SELECT id, revision, status FROM documents WHERE collection = ?',
  removeDocument: 'DELETE FROM documents WHERE collection = ? AND id = ?',
  putJob: `INSERT INTO jobs (id, collection, status, created_at, updated_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET collection = excluded.collection, status = excluded.status,
      created_at = excluded.created_at, updated_at = excluded.updated_at`,
  removeItems: 'DELETE FROM job_items WHERE job_id = ?',
  addItem: `INSERT INTO job_items (${itemColumns}) VALUES (${named(itemColumns)})`,
  replaceItem: `UPDATE job_items SET (${itemColumns}) = (${named(itemColumns)}) WHERE job_id = :job_id AND item = :item`,
  touchJob: 'UPDATE jobs SET status = coalesce(?, status), updated_at = ? WHERE id = ?',
  getJob: 'SELECT * FROM jobs WHERE id = ?',
  getItems: `SELECT ${itemColumns} FROM job_items WHERE job_id = ? ORDER BY item`,
  unfinishedJobs: `SELECT * FROM jobs WHERE ${unfinished} ORDER BY created_at, seq`,
  countUnfinishedJobs: `SELECT count(*) AS total FROM jobs WHERE ${unfinished}`,
  removeOldJobs: `DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs WHERE NOT (${unfinished})
    ORDER BY updated_at DESC, seq DESC LIMIT -1 OFFSET ${maxSettledJobs})`,
} as const;

export interface SqliteOptions {
  /** Database file; its folder is made when missing. `:memory:` keeps nothing. */
  file: string;
}

/**
 * Opens the store of documents and jobs in one SQLite file.
 * @throws RagError STORE_UNAVAILABLE when the file is no database, of a newer schema, or not writable
 */
export function openSqlite(options: SqliteOptions): MetadataStore {
  return new SqliteStore(options.file, openDatabase(options.file));
}

class SqliteStore implements MetadataStore {
  readonly #file: string;
  readonly #database: DatabaseSync;
  readonly #statements: Readonly<Record<keyof typeof sql, StatementSync>>;

  constructor(file: string, database: DatabaseSync) {
    this.#file = file;
    this.#database = database;
    const prepared = Object.entries(sql).map(([name, text]) => [name, database.prepare(text)]);
    this.#statements = Object.fromEntries(prepared);
  }

  putDocument(document: DocumentRecord): void {
    this.#run(() => this.#statements.putDocument.run(documentToRow(document)));
  }

  getDocument(collection: string, id: string): DocumentRecord | undefined {
    const row = this.#run(() => this.#statements.getDocument.get(collection, id));
    return row && documentFromRow(row);
  }

  visibleRevisions(collection: string, ids: readonly string[]): Map<string, string> {
    const rows = this.#run(() => this.#statements.visibleRevisions.all(collection, JSON.stringify(ids)));
    return new Map(rows.map((row) => [String(row.id), String(row.revision)]));
  }

  listDocuments(
    collection: string | undefined,
    page: { limit: number; offset: number },
  ): { documents: DocumentRecord[]; total: number } {
    const { listAll, countAll, listCollection, countCollection } = this.#statements;
    return this.#inTransaction(() => {
      const rows =
        collection === undefined
          ? listAll.all(page.limit, page.offset)
          : listCollection.all(collection, page.limit, page.offset);
      const count = collection === undefined ? countAll.get() : countCollection.get(collection);
      return { documents: rows.map(documentFromRow), total: Number(count?.total) };
    });
  }

  allRevisions(collection: string): { id: string; revision: string; status: DocumentStatus }[] {
    const rows = this.#run(() => this.#statements.allRevisions.all(collection));
    return rows.map((row) => ({
      id: String(row.id),
      revision: String(row.revision),
      status: row.status as DocumentStatus,
    }));
  }

  removeDocument(collection: string, id: string): void {
    this.#run(() => this.#statements.removeDocument.run(collection, id));
  }

  publish(document: DocumentRecord, item?: { jobId: string; item: JobItem }): void {
    this.#inTransaction(() => {
      this.#statements.putDocument.run(documentToRow(document));
      if (item) this.#replaceItem(item.jobId, item.item);
    });
  }

  putJob(job: JobRecord): void {
    const { putJob, removeItems, addItem } = this.#statements;
    this.#inTransaction(() => {
      putJob.run(job.id, job.collection, job.status, job.createdAt, job.updatedAt);
      removeItems.run(job.id);
      for (const item of job.items) addItem.run(itemToRow(job.id, item));
      this.#removeOldJobs(job.status);
    });
  }

  getJob(id: string): JobRecord | undefined {
    return this.#inTransaction(() => {
      const row = this.#statements.getJob.get(id);
      return row && jobFromRow(row, this.#statements.getItems.all(id));
    });
  }

  updateJobItem(jobId: string, item: JobItem, status?: JobStatus): void {
    this.#inTransaction(() => this.#replaceItem(jobId, item, status));
  }

  unfinishedJobs(): JobRecord[] {
    const { unfinishedJobs, getItems } = this.#statements;
    return this.#inTransaction(() =>
      unfinishedJobs.all().map((row) => jobFromRow(row, getItems.all(String(row.id)))),
    );
  }

  countUnfinishedJobs(): number {
    return this.#run(() => Number(this.#statements.countUnfinishedJobs.get()?.total));
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  #replaceItem(jobId: string, item: JobItem, status?: JobStatus): void {
    const { changes } = this.#statements.replaceItem.run(itemToRow(jobId, item));
    if (changes === 0) throw new RagError('NOT_FOUND', `There is no item ${item.index} in a job ${jobId}.`);
    this.#statements.touchJob.run(status ?? null, new Date().toISOString(), jobId);
    this.#removeOldJobs(status);
  }

  /** Their items go with them. */
  #removeOldJobs(status: JobStatus | undefined): void {
    const settled = status !== undefined && status !== 'queued' && status !== 'running';
    if (settled) this.#statements.removeOldJobs.run();
  }

  #inTransaction<T>(action: () => T): T {
    return this.#run(() => {
      this.#database.exec('BEGIN');
      try {
        const result = action();
        this.#database.exec('COMMIT');
        return result;
      } catch (thrown) {
        // A full disk may have ended the transaction already.
        if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
        throw thrown;
      }
    });
  }

  #run<T>(action: () => T): T {
    if (!this.#database.isOpen) throw new RagError('STOPPING', `The database ${this.#file} is closed.`);
    try {
      return action();
    } catch (thrown) {
      throw databaseError(this.#file, thrown);
    }
  }
}
