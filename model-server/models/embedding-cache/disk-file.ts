import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** "NerE": marks the file as this cache's own. */
const APPLICATION_ID = 0x4e657245;
const SCHEMA_VERSION = 1;
/** Five vectors of 384 floats to a page; in SQLite's usual pages a fifth would be empty. */
const PAGE_BYTES = 8192;
/** Another server may write for a moment; longer than this nobody waits for a cache. */
const BUSY_MS = 20;

/** Of SQLite's result codes: the file is damaged, or none of SQLite's. */
const DAMAGED: readonly number[] = [11, 26];

const schema = `
  CREATE TABLE spaces (id INTEGER PRIMARY KEY, space TEXT NOT NULL UNIQUE) STRICT;
  CREATE TABLE embeddings (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    space_id INTEGER NOT NULL,
    made_ms INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    tokens_used INTEGER NOT NULL,
    truncated INTEGER NOT NULL,
    vector BLOB NOT NULL,
    checksum INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX embeddings_of_space ON embeddings (space_id);`;

/** Path of the cache's file in its folder. */
export function diskFile(folder: string): string {
  return join(folder, 'embeddings.sqlite');
}

/** Opens the file, and makes it when it is not there. @throws what SQLite throws, or an Error when the file is another program's */
export function openDiskFile(folder: string): DatabaseSync {
  mkdirSync(folder, { recursive: true });
  const database = new DatabaseSync(diskFile(folder), { timeout: BUSY_MS });
  try {
    // These two count only before the first table is made.
    database.exec(`PRAGMA page_size = ${PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL`);
    database.exec('PRAGMA journal_mode = WAL; PRAGMA journal_size_limit = 16000000');
    // What a power cut tears is found by the checksums, and can be computed again; waiting for the disk can't be undone.
    database.exec('PRAGMA synchronous = OFF');
    prepareSchema(database);
    return database;
  } catch (thrown) {
    database.close();
    throw thrown;
  }
}

/** Whether what SQLite threw says that the file is of no use. */
export function isDamaged(thrown: unknown): boolean {
  if (thrown instanceof ForeignFile) return true;
  return thrown instanceof Error && 'errcode' in thrown && DAMAGED.includes(Number(thrown.errcode) & 0xff);
}

/** Moves the file out of the way, for whoever wants to look at it. @returns its new path */
export function setAside(folder: string, nowMs: number): string {
  const file = diskFile(folder);
  const aside = `${file}.set-aside-${nowMs}`;
  renameSync(file, aside);
  for (const tail of ['-wal', '-shm']) if (existsSync(file + tail)) rmSync(file + tail);
  return aside;
}

class ForeignFile extends Error {}

function prepareSchema(database: DatabaseSync): void {
  const pragma = (name: string) => Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
  database.exec('BEGIN IMMEDIATE');
  const tables = Number(database.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.n);
  const [application, version] = [pragma('application_id'), pragma('user_version')];
  const isOurs = application === APPLICATION_ID && version === SCHEMA_VERSION;
  if (!isOurs && (tables > 0 || version !== 0)) {
    database.exec('ROLLBACK');
    throw new ForeignFile(
      `it is no embedding cache of this version (application ${application}, schema ${version})`,
    );
  }
  if (!isOurs) {
    database.exec(schema);
    database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}`);
  }
  database.exec('COMMIT');
}
