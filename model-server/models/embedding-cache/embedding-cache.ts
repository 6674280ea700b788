import type { DiskTier } from './disk-tier.ts';
import type { EmbeddedText } from './embedded-text.ts';
import { MemoryTier } from './memory-tier.ts';
import { textKey } from './text-key.ts';

export interface EmbeddingCacheOptions {
  /** 0: nothing is kept in memory, and nothing on disk. */
  budgetBytes: number;
  /** How long a vector is kept; 0: until its room is needed. */
  ttlMs: number;
  /** Milliseconds on a clock that never goes back. */
  nowMs?: () => number;
  /** Outlives the process. */
  disk?: DiskTier | undefined;
}

/** What the cache has done so far, and what it holds. Texts are counted, not calls. */
export interface CacheFigures {
  hits: number;
  /** Of the hits, those that came from disk. */
  diskHits: number;
  misses: number;
  /** Texts that waited for another caller's computation instead of having their own. */
  joined: number;
  evictions: number;
  entries: number;
  bytes: number;
  diskBytes: number;
}

/** Vectors of texts that were embedded before: in memory, and if so configured on disk. */
export class EmbeddingCache {
  readonly #memory: MemoryTier | undefined;
  readonly #disk: DiskTier | undefined;
  #hits = 0;
  #diskHits = 0;
  #misses = 0;
  #joined = 0;

  constructor({ budgetBytes, ttlMs, nowMs = () => performance.now(), disk }: EmbeddingCacheOptions) {
    if (budgetBytes === 0) return;
    this.#memory = new MemoryTier({ budgetBytes, ttlMs, nowMs });
    this.#disk = disk;
  }

  /** Whether reading may have to wait for a disk. */
  get hasDisk(): boolean {
    return this.#disk !== undefined;
  }

  get figures(): CacheFigures {
    return {
      hits: this.#hits,
      diskHits: this.#diskHits,
      misses: this.#misses,
      joined: this.#joined,
      evictions: this.#memory?.evictions ?? 0,
      entries: this.#memory?.entries ?? 0,
      bytes: this.#memory?.bytes ?? 0,
      diskBytes: this.#disk?.bytes ?? 0,
    };
  }

  /** What stands for a text in a space, for the other methods. */
  keyOf(space: string, text: string): string {
    return textKey(space, text);
  }

  /** What memory holds. */
  get(key: string): EmbeddedText | undefined {
    const text = this.#memory?.get(key);
    if (text !== undefined) this.#hits++;
    return text;
  }

  /** What the disk holds, after memory did not have it; from then on memory holds it, too. */
  getFromDisk(key: string, space: string): EmbeddedText | undefined {
    const found = this.#disk?.get(key, space);
    if (found === undefined) return undefined;
    this.#hits++;
    this.#diskHits++;
    const text = { ...found.text, cached: true };
    this.#memory?.set(key, text, found.leftMs);
    return text;
  }

  /** Counts a text that had to be computed, or that joined the computation of another caller. */
  missed(how: 'computed' | 'joined'): void {
    if (how === 'computed') this.#misses++;
    else this.#joined++;
  }

  /** Keeps a text that was just computed. @param text must not share its vector's buffer with others */
  set(key: string, space: string, text: EmbeddedText): void {
    this.#memory?.set(key, { ...text, cached: true });
    this.#disk?.set(key, space, text);
  }

  /** Writes what is still to be written. */
  close(): void {
    this.#disk?.close();
  }
}
