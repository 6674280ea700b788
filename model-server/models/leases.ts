/** Who holds something, and when it was last held. */
export class Leases {
  readonly #nowMs: () => number;
  readonly #onFree: (() => void)[] = [];
  #count = 0;
  #lastUsedMs: number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#lastUsedMs = nowMs();
  }

  get count(): number {
    return this.#count;
  }

  /** On the clock that was given. */
  get lastUsedMs(): number {
    return this.#lastUsedMs;
  }

  /** As if it had just been used. */
  touch(): void {
    this.#lastUsedMs = this.#nowMs();
  }

  /** @returns gives the hold back; more than once does nothing more */
  take(): () => void {
    this.#count++;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#count--;
      this.touch();
      if (this.#count === 0) for (const tell of this.#onFree.splice(0)) tell();
    };
  }

  /** Resolves when nobody holds it. */
  whenFree(): Promise<void> {
    return this.#count === 0 ? Promise.resolve() : new Promise((resolve) => this.#onFree.push(resolve));
  }
}
