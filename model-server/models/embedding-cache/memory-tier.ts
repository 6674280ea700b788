import { LRUCache } from 'lru-cache';
import type { EmbeddedText } from './embedded-text.ts';

export interface MemoryTierOptions {
  budgetBytes: number;
  /** How long a vector is kept; 0: until its room is needed. */
  ttlMs: number;
  /** Milliseconds on a clock that never goes back. */
  nowMs: () => number;
}

/** What an entry takes of the process besides its vector: objects, a buffer, a key, a place in the list (measured). */
const ENTRY_BYTES = 950;

/** The vectors that were asked for most recently, within a budget of bytes. */
export class MemoryTier {
  readonly #entries: LRUCache<string, EmbeddedText>;
  #evictions = 0;

  constructor({ budgetBytes, ttlMs, nowMs }: MemoryTierOptions) {
    this.#entries = new LRUCache({
      maxSize: budgetBytes,
      sizeCalculation: ({ vector }) => ENTRY_BYTES + vector.byteLength,
      ttl: ttlMs,
      ttlResolution: 0,
      // The library takes a start at 0 for none.
      perf: { now: () => nowMs() + 1 },
      dispose: (_text, _key, reason) => {
        if (reason === 'evict') this.#evictions++;
      },
    });
  }

  get entries(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#entries.calculatedSize;
  }

  /** Entries that had to go for others. */
  get evictions(): number {
    return this.#evictions;
  }

  get(key: string): EmbeddedText | undefined {
    return this.#entries.get(key);
  }

  /** @param leftMs how long it may stay, when that is less than others may */
  set(key: string, text: EmbeddedText, leftMs?: number): void {
    this.#entries.set(key, text, leftMs === undefined ? {} : { ttl: leftMs });
  }
}
