import type { Clock } from './clock.ts';

/** Timers take no longer delays; whoever waits longer is looked at again then. */
const LONGEST_DELAY_US = 3_600_000_000;

/** One timer for any number of deadlines: it goes off at the earliest. */
export class DeadlineTimer {
  readonly #clock: Clock;
  readonly #onDue: () => number;
  #dueUs = Number.POSITIVE_INFINITY;
  #cancel: (() => void) | undefined;

  /** @param onDue ends what is due, and returns the earliest deadline that is left (Infinity: none) */
  constructor(clock: Clock, onDue: () => number) {
    this.#clock = clock;
    this.#onDue = onDue;
  }

  /** Goes off at this deadline, if not before. */
  watch(deadlineUs: number): void {
    if (deadlineUs >= this.#dueUs) return;
    this.cancel();
    this.#dueUs = deadlineUs;
    const delayUs = Math.min(Math.max(0, deadlineUs - this.#clock.nowUs()), LONGEST_DELAY_US);
    this.#cancel = this.#clock.after(delayUs, () => {
      this.cancel();
      this.watch(this.#onDue());
    });
  }

  cancel(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#dueUs = Number.POSITIVE_INFINITY;
  }
}
