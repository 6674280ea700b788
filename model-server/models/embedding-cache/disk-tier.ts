import type { DatabaseSync } from 'node:sqlite';
import type { Log } from '../../log.ts';
import { diskFile, isDamaged, openDiskFile, setAside } from './disk-file.ts';
import { type DiskRow, DiskRows } from './disk-rows.ts';
import type { EmbeddedText } from './embedded-text.ts';

export interface DiskTierOptions {
  /** Made when it is not there. */
  folder: string;
  limitBytes: number;
  /** How long a vector is kept; 0: until its room is needed. */
  ttlMs: number;
  log: Pick<Log, 'warn' | 'error'>;
  /** Milliseconds since the epoch. */
  nowMs?: () => number;
  /** How to wait; tests drive it by hand. */
  after?: (delayMs: number, task: () => void) => () => void;
}

/** Vectors that are written together: a transaction of these takes a few milliseconds of the event loop. */
const BATCH_ROWS = 128;
/** How long a vector waits for others to be written with. */
const BATCH_MS = 200;
/** Vectors that wait to be written at most; more are not kept on disk. */
const MOST_WAITING = 4096;

/**
 * Vectors that outlive the process, in one SQLite file. It never fails its caller: a damaged file, or another program's, is
 * set aside; what can't be read is not there, what can't be written is forgotten; each of these is logged.
 */
export class DiskTier {
  readonly #options: DiskTierOptions;
  readonly #nowMs: () => number;
  readonly #after: (delayMs: number, task: () => void) => () => void;
  /** Spaces that were asked for since the start. */
  readonly #spaces = new Set<string>();
  readonly #waiting = new Map<string, DiskRow>();
  readonly #told = new Set<string>();
  #rows: DiskRows | undefined;
  #cancelFlush: (() => void) | undefined;

  constructor(options: DiskTierOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? Date.now;
    this.#after = options.after ?? systemAfter;
    this.#open();
  }

  get bytes(): number {
    return this.#guarded((rows) => rows.bytes) ?? 0;
  }

  /** @returns the vector, and how long it may still be kept; undefined: as long as there is room */
  get(key: string, space: string): { text: EmbeddedText; leftMs: number | undefined } | undefined {
    this.#spaces.add(space);
    const found = this.#waiting.get(key) ?? this.#guarded((rows) => rows.find(key));
    if (found === undefined) return undefined;
    const { ttlMs } = this.#options;
    if (ttlMs === 0) return { text: found.text, leftMs: undefined };
    const ageMs = this.#nowMs() - found.madeMs;
    // One from the future was made before the clock was set back: nobody knows how old it is.
    return ageMs >= 0 && ageMs < ttlMs ? { text: found.text, leftMs: ttlMs - ageMs } : undefined;
  }

  /** Keeps a vector; it is written a little later, with others. */
  set(key: string, space: string, text: EmbeddedText): void {
    this.#spaces.add(space);
    if (this.#rows === undefined || this.#waiting.size >= MOST_WAITING) return;
    this.#waiting.set(key, { key, space, madeMs: this.#nowMs(), text });
    this.#cancelFlush ??= this.#after(BATCH_MS, () => this.#flush());
  }

  /** Writes what waits, and closes the file. */
  close(): void {
    this.#cancelFlush?.();
    while (this.#waiting.size > 0) this.#writeBatch();
    this.#guarded((rows) => rows.close());
    this.#rows = undefined;
  }

  #flush(): void {
    this.#cancelFlush = undefined;
    this.#writeBatch();
    // The rest after whatever else has come in meanwhile.
    if (this.#waiting.size > 0) this.#cancelFlush = this.#after(0, () => this.#flush());
  }

  #writeBatch(): void {
    const batch = [...this.#waiting.values()].slice(0, BATCH_ROWS);
    for (const { key } of batch) this.#waiting.delete(key);
    const { limitBytes } = this.#options;
    this.#guarded((rows) => rows.write(batch, { limitBytes, current: this.#spaces }));
  }

  #guarded<T>(work: (rows: DiskRows) => T): T | undefined {
    if (this.#rows === undefined) return undefined;
    try {
      return work(this.#rows);
    } catch (thrown) {
      if (isDamaged(thrown)) this.#startAnew(thrown);
      else this.#tell(thrown);
      return undefined;
    }
  }

  #open(): void {
    let database: DatabaseSync | undefined;
    try {
      database = openDiskFile(this.#options.folder);
      this.#rows = new DiskRows(database);
    } catch (thrown) {
      database?.close();
      if (isDamaged(thrown)) this.#startAnew(thrown);
      else this.#tell(thrown);
    }
  }

  /** Goes on with an empty file; if that is damaged, too, without any. */
  #startAnew(cause: unknown): void {
    const { folder, log } = this.#options;
    const file = diskFile(folder);
    try {
      this.#rows?.close();
      this.#rows = undefined;
      const aside = setAside(folder, this.#nowMs());
      log.warn({ file, aside }, `the embedding cache ${file} is set aside as ${aside}: ${textOf(cause)}`);
      this.#rows = new DiskRows(openDiskFile(folder));
    } catch (thrown) {
      this.#tell(thrown);
    }
  }

  /** Once for each kind of failure: a full disk would flood the log. */
  #tell(thrown: unknown): void {
    const what = textOf(thrown);
    if (this.#told.has(what)) return;
    this.#told.add(what);
    const file = diskFile(this.#options.folder);
    const so =
      this.#rows === undefined ? 'Nothing is kept on disk.' : 'What it was asked for is done without it.';
    this.#options.log.error({ file }, `the embedding cache ${file} failed: ${what}. ${so}`);
  }
}

function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

function systemAfter(delayMs: number, task: () => void): () => void {
  const timer = setTimeout(task, delayMs);
  return () => clearTimeout(timer);
}
