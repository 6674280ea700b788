const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 300_000;
/** After so long without a death the next one counts as the first. */
const FORGET_MS = 1_800_000;

/**
 * When a version that failed by the death of its workers may be tried again: what killed them (want of memory, a driver)
 * may have passed, which nobody can tell from its files. The pauses grow from 5 seconds to 5 minutes.
 */
export class Recovery {
  readonly #nowMs: () => number;
  #deaths = 0;
  #lastDeathMs = Number.NEGATIVE_INFINITY;
  #dueMs: number | undefined;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Told once for each failure. */
  died(): void {
    const nowMs = this.#nowMs();
    if (nowMs - this.#lastDeathMs > FORGET_MS) this.#deaths = 0;
    this.#lastDeathMs = nowMs;
    this.#dueMs = nowMs + Math.min(FIRST_PAUSE_MS * 2 ** this.#deaths, LONGEST_PAUSE_MS);
    this.#deaths++;
  }

  /** There is nothing to recover from any more. */
  clear(): void {
    this.#dueMs = undefined;
  }

  /** Whether the pause since the last failure is over. */
  get isDue(): boolean {
    return this.#dueMs !== undefined && this.#nowMs() >= this.#dueMs;
  }
}
