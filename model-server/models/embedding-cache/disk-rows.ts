import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite';
import { crc32 } from 'node:zlib';
import type { EmbeddedText } from './embedded-text.ts';

/** A vector as it is kept on disk. */
export interface DiskRow {
  key: string;
  space: string;
  /** Milliseconds since the epoch, for the next process knows no other clock. */
  madeMs: number;
  text: EmbeddedText;
}

const sql = {
  find: 'SELECT made_ms, tokens, tokens_used, truncated, vector, checksum FROM embeddings WHERE key = ?',
  put: `INSERT OR REPLACE INTO embeddings (key, space_id, made_ms, tokens, tokens_used, truncated, vector, checksum)
    VALUES (?, (SELECT id FROM spaces WHERE space = ?), ?, ?, ?, ?, ?, ?)`,
  addSpace: 'INSERT OR IGNORE INTO spaces (space) VALUES (?)',
  spaces: 'SELECT id, space FROM spaces ORDER BY id',
  removeSpace:
    'DELETE FROM spaces WHERE id = ? AND NOT EXISTS (SELECT 1 FROM embeddings WHERE space_id = spaces.id)',
  dropOfSpace:
    'DELETE FROM embeddings WHERE id IN (SELECT id FROM embeddings WHERE space_id = ? ORDER BY id LIMIT ?)',
  dropOldest: 'DELETE FROM embeddings WHERE id IN (SELECT id FROM embeddings ORDER BY id LIMIT ?)',
} as const;

type Pragma = 'page_count' | 'freelist_count' | 'page_size';

/** The table of one open file. Its methods throw what SQLite throws. */
export class DiskRows {
  readonly #database: DatabaseSync;
  readonly #statements: Readonly<Record<keyof typeof sql, StatementSync>>;
  readonly #pragmas: Readonly<Record<Pragma, StatementSync>>;

  constructor(database: DatabaseSync) {
    this.#database = database;
    const prepared = Object.entries(sql).map(([name, text]) => [name, database.prepare(text)]);
    this.#statements = Object.fromEntries(prepared);
    const pragma = (name: string) => database.prepare(`PRAGMA ${name}`);
    this.#pragmas = {
      page_count: pragma('page_count'),
      freelist_count: pragma('freelist_count'),
      page_size: pragma('page_size'),
    };
  }

  /** What the rows take of the file. */
  get bytes(): number {
    return (this.#pragma('page_count') - this.#pragma('freelist_count')) * this.#pragma('page_size');
  }

  /** The row of a key; one that was damaged counts as none. */
  find(key: string): Pick<DiskRow, 'madeMs' | 'text'> | undefined {
    const row = this.#statements.find.get(key);
    return row && fromRow(key, row);
  }

  /**
   * Makes room and writes, all in one transaction.
   * @param current spaces whose rows go only when no others are left
   */
  write(
    rows: readonly DiskRow[],
    { limitBytes, current }: { limitBytes: number; current: ReadonlySet<string> },
  ): void {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      const size = rows.reduce((sum, { text }) => sum + text.vector.byteLength + ROW_BYTES, 0);
      // A few more than come in, so that a file which is too large gets smaller without ever taking long.
      if (this.bytes + size > limitBytes) this.#drop(2 * rows.length, current);
      for (const space of new Set(rows.map((row) => row.space))) this.#statements.addSpace.run(space);
      for (const row of rows) this.#statements.put.run(...toRow(row));
      this.#database.exec('COMMIT');
    } catch (thrown) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw thrown;
    }
    this.#shrink(limitBytes);
  }

  close(): void {
    this.#database.close();
  }

  /** Rows of other spaces first: only another model could ask for them. */
  #drop(atLeast: number, current: ReadonlySet<string>): void {
    let left = atLeast;
    for (const { id, space } of this.#statements.spaces.all()) {
      if (left <= 0 || current.has(String(space))) continue;
      left -= Number(this.#statements.dropOfSpace.run(id!, left).changes);
      this.#statements.removeSpace.run(id!);
    }
    if (left > 0) this.#statements.dropOldest.run(left);
  }

  /** Gives pages back to the file system, when the limit has become smaller than the file. */
  #shrink(limitBytes: number): void {
    const excess = this.#pragma('page_count') * this.#pragma('page_size') - limitBytes;
    if (excess > 0) this.#database.exec(`PRAGMA incremental_vacuum(${MOST_PAGES_GIVEN_BACK})`);
  }

  #pragma(name: Pragma): number {
    return Number(this.#pragmas[name].get()?.[name]);
  }
}

/** What a row takes besides its vector, its places in the indexes included. */
const ROW_BYTES = 250;
const MOST_PAGES_GIVEN_BACK = 256;

function toRow({ key, space, madeMs, text }: DiskRow) {
  const { vector, tokens, tokensUsed, truncated } = text;
  const bytes = new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
  const facts = [Math.round(madeMs), tokens, tokensUsed, Number(truncated)] as const;
  return [key, space, ...facts, bytes, checksum(key, facts, bytes)] as const;
}

function fromRow(
  key: string,
  row: Record<string, SQLOutputValue>,
): Pick<DiskRow, 'madeMs' | 'text'> | undefined {
  const facts = [row.made_ms, row.tokens, row.tokens_used, row.truncated].map(Number);
  const [madeMs, tokens, tokensUsed, truncated] = facts as [number, number, number, number];
  const bytes = row.vector as Uint8Array;
  if (bytes.byteLength % 4 !== 0 || checksum(key, facts, bytes) !== row.checksum) return undefined;
  // A copy, since the bytes may begin anywhere.
  const vector = new Float32Array(bytes.byteLength / 4);
  new Uint8Array(vector.buffer).set(bytes);
  return { madeMs, text: { vector, tokens, tokensUsed, truncated: truncated === 1, cached: true } };
}

function checksum(key: string, facts: readonly number[], bytes: Uint8Array): number {
  return crc32(bytes, crc32(`${key} ${facts.join(' ')}`));
}
