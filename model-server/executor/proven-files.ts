/** Marks are short, and few models are served at a time; what has been forgotten is proved again. */
const MOST_MARKS = 1000;

/**
 * The model files whose rewritten graphs have been compared with the file as it is. Workers come and go, and each would
 * compare anew: that means opening the model twice.
 */
export class ProvenFiles {
  readonly #marks = new Set<string>();

  /** Marks of files as workers tell them, the oldest first. */
  get marks(): string[] {
    return [...this.#marks];
  }

  /** Keeps what a worker has proved, if anything. */
  add(mark: string | undefined): void {
    if (mark === undefined) return;
    this.#marks.add(mark);
    if (this.#marks.size > MOST_MARKS) this.#marks.delete(this.#marks.values().next().value!);
  }
}
