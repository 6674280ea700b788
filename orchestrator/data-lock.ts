import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { RagError } from './errors.ts';

const sqliteBusy = 5;

/** Held while an orchestrator works on a data folder. */
export interface DataLock {
  release(): void;
}

/**
 * Takes a data folder for this process. The lock is SQLite's lock on an empty database: the system releases it when
 * the process ends in whatever way, so a crash leaves nothing to clean up.
 * @throws RagError STORE_UNAVAILABLE when another orchestrator has it, or the folder can't be written
 */
export function lockDataDir(dataDir: string): DataLock {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(join(dataDir, 'orchestrator.lock'));
    database.exec('PRAGMA busy_timeout = 0; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;');
  } catch (error) {
    database?.close();
    throw cannotLock(dataDir, error as Error);
  }
  const held = database;
  return { release: () => held.close() };
}

function cannotLock(dataDir: string, error: Error): RagError {
  if ('errcode' in error && error.errcode === sqliteBusy) {
    const message = `The data folder ${dataDir} is in use by another orchestrator. Stop that one, or choose another folder with --data-dir.`;
    return new RagError('STORE_UNAVAILABLE', message, { cause: error });
  }
  const message = `Can't write to the data folder ${dataDir}: ${error.message}. Choose another with --data-dir.`;
  return new RagError('STORE_UNAVAILABLE', message, { cause: error });
}
