import type { Clock } from './clock.ts';

/** Each look goes through all that wait, so that deadlines which pass one after the other share a look. */
const BETWEEN_LOOKS_US = 10_000;
/** Timers take no longer delays; whoever waits longer is looked at again then. */
const LONGEST_DELAY_US = 3_600_000_000;

/** One timer for any number of deadlines: it goes off at the earliest, or a little later when it went off just before. */
export class DeadlineTimer {
  readonly #clock: Clock;
  readonly #onDue: () => number;
  #dueUs = Number.POSITIVE_INFINITY;
  #nextLookUs = 0;
  #cancel: (() => void) | undefined;

  /** @param onDue ends what is due, and returns the earliest deadline that is left (Infinity: none) */
  constructor(clock: Clock, onDue: () => number) {
    this.#clock = clock;
    this.#onDue = onDue;
  }

  /** Goes off at this deadline, if not before. */
  watch(deadlineUs: number): void {
    const dueUs = Math.max(deadlineUs, this.#nextLookUs);
    if (dueUs >= this.#dueUs) return;
    this.cancel();
    this.#dueUs = dueUs;
    const delayUs = Math.min(Math.max(0, dueUs - this.#clock.nowUs()), LONGEST_DELAY_US);
    this.#cancel = this.#clock.after(delayUs, () => this.#look());
  }

  cancel(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#dueUs = Number.POSITIVE_INFINITY;
  }

  #look(): void {
    this.cancel();
    this.#nextLookUs = this.#clock.nowUs() + BETWEEN_LOOKS_US;
    this.watch(this.#onDue());
  }
}
