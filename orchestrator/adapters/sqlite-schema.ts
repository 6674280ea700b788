import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { RagError } from '../errors.ts';

/** Marks the file as ours in its header: "Nere". */
const applicationId = 0x4e657265;

/** SQLITE_CONSTRAINT. */
const constraintFailed = 19;

/** Each entry takes the file from schema version (its index) to the next. Entries are added, never changed. */
const migrations: readonly string[] = [
  `CREATE TABLE documents (
     seq INTEGER PRIMARY KEY,
     collection TEXT NOT NULL,
     id TEXT NOT NULL,
     title TEXT NOT NULL,
     source TEXT NOT NULL,
     media_type TEXT NOT NULL,
     bytes INTEGER NOT NULL,
     fingerprint TEXT NOT NULL,
     revision TEXT NOT NULL,
     status TEXT NOT NULL,
     error_reason TEXT,
     error_message TEXT,
     pages INTEGER,
     chunks INTEGER NOT NULL,
     metadata TEXT NOT NULL,
     created_at TEXT NOT NULL,
     updated_at TEXT NOT NULL,
     UNIQUE (collection, id)
   ) STRICT;
   CREATE INDEX documents_by_age ON documents (created_at, seq);
   CREATE INDEX documents_by_collection_and_age ON documents (collection, created_at, seq);

   CREATE TABLE jobs (
     seq INTEGER PRIMARY KEY,
     id TEXT NOT NULL UNIQUE,
     collection TEXT NOT NULL,
     status TEXT NOT NULL,
     created_at TEXT NOT NULL,
     updated_at TEXT NOT NULL
   ) STRICT;
   CREATE INDEX unfinished_jobs ON jobs (created_at, seq) WHERE status IN ('queued', 'running');

   CREATE TABLE job_items (
     job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
     item INTEGER NOT NULL,
     document_id TEXT NOT NULL,
     title TEXT NOT NULL,
     source TEXT NOT NULL,
     media_type TEXT NOT NULL,
     bytes INTEGER NOT NULL,
     metadata TEXT NOT NULL,
     staged_file TEXT NOT NULL,
     status TEXT NOT NULL,
     error_reason TEXT,
     error_message TEXT,
     chunks INTEGER,
     embedded INTEGER,
     pages INTEGER,
     warnings TEXT,
     PRIMARY KEY (job_id, item)
   ) STRICT, WITHOUT ROWID;`,
];

/**
 * Opens the file, and brings it to the newest schema.
 * @throws RagError STORE_UNAVAILABLE when it is no database, another program's, of a newer schema, or not writable
 */
export function openDatabase(file: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    if (file !== ':memory:') mkdirSync(dirname(file), { recursive: true });
    // Another process (doctor, a backup) may hold the lock for a moment.
    database = new DatabaseSync(file, { timeout: 5_000, enableForeignKeyConstraints: true });
    database.exec('PRAGMA journal_mode = WAL');
    // A sync of the log at each commit (0.4 ms on an SSD), so that what was acknowledged outlives a power cut as well;
    // NORMAL would outlive only a kill of the process.
    database.exec('PRAGMA synchronous = FULL');
    migrate(file, database);
    return database;
  } catch (thrown) {
    database?.close();
    throw databaseError(file, thrown);
  }
}

/** What went wrong with the file, for the person who runs the program. */
export function databaseError(file: string, thrown: unknown): RagError {
  if (thrown instanceof RagError) return thrown;
  // A row that breaks a constraint, or a value that can't be bound, is a mistake of ours and not the file's fault.
  const code = thrown instanceof Error && 'errcode' in thrown ? Number(thrown.errcode) & 0xff : undefined;
  if (code === constraintFailed || thrown instanceof TypeError) return RagError.from(thrown);
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const advice = message.includes('not a database')
    ? 'Move that file away, or choose another data folder.'
    : 'Check that its folder is writable, that the disk is not full, and that no other program holds the file.';
  return new RagError('STORE_UNAVAILABLE', `The database ${file} failed: ${message}. ${advice}`, {
    cause: thrown,
  });
}

function migrate(file: string, database: DatabaseSync): void {
  const pragma = (name: string) => Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
  database.exec('BEGIN IMMEDIATE');
  const version = pragma('user_version');
  const tables = Number(database.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.n);
  if (pragma('application_id') !== applicationId && (version !== 0 || tables > 0)) {
    throw new RagError(
      'STORE_UNAVAILABLE',
      `The database ${file} belongs to another program. Choose another data folder, or move that file away.`,
    );
  }
  if (version > migrations.length) {
    throw new RagError(
      'STORE_UNAVAILABLE',
      `The database ${file} was written by a newer Nereid (schema ${version}; this one knows up to ` +
        `${migrations.length}). Run that newer version, or choose another data folder.`,
    );
  }
  for (const migration of migrations.slice(version)) database.exec(migration);
  database.exec(`PRAGMA application_id = ${applicationId}`);
  database.exec(`PRAGMA user_version = ${migrations.length}`);
  database.exec('COMMIT');
}
