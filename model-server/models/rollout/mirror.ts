/**
 * Mirrored requests of one model that may be under way at once. They compete with answered ones for the machine: two keep
 * two instances busy at most, and still bring hundreds of comparisons a second.
 */
const MOST_UNDER_WAY = 2;

/** Runs mirrored requests off the critical path: a few at a time, never waited for, never failing their caller. */
export class Mirror {
  readonly #closing = new AbortController();
  readonly #underWay = new Set<Promise<void>>();

  /**
   * Starts `run` unless too many are under way.
   * @param onError told of what `run` throws; nothing is thrown here
   * @returns false when it was left out
   */
  start(run: (signal: AbortSignal) => Promise<void>, onError: (error: unknown) => void): boolean {
    if (this.#closing.signal.aborted || this.#underWay.size >= MOST_UNDER_WAY) return false;
    const one: Promise<void> = this.#guarded(run, onError).finally(() => this.#underWay.delete(one));
    this.#underWay.add(one);
    return true;
  }

  /** Resolves when none is under way. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  /** Takes no more, tells those under way to stop, and waits for them. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.idle();
  }

  async #guarded(
    run: (signal: AbortSignal) => Promise<void>,
    onError: (error: unknown) => void,
  ): Promise<void> {
    const { signal } = this.#closing;
    try {
      await run(signal);
    } catch (error) {
      // What stopping breaks off says nothing about the version.
      if (!signal.aborted) onError(error);
    }
  }
}
