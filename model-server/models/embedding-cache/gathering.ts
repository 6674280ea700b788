import { ServingError } from '../../errors.ts';
import type { Clock } from '../../scheduler/clock.ts';
import type { Flight, Waiter, Wish } from './flight.ts';

/** When a caller gives up. */
export interface Patience {
  /** Its reason may be a ServingError. */
  signal: AbortSignal | undefined;
  /** After which the caller wants no answer, on the clock; Infinity: none. */
  hardDeadlineUs: number;
  clock: Clock;
  /** Model and version, for messages. */
  owner: string;
}

/** One caller's wait for several flights. It takes part in each until all have come, or one has failed. */
export class Gathering<Result extends object> {
  /** By the index that each was joined under. */
  readonly results = new Map<number, Result>();
  readonly #wish: Wish;
  readonly #joined: { flight: Flight<Result>; waiter: Waiter<Result> }[] = [];
  readonly #done = Promise.withResolvers<void>();
  #isOver = false;
  #hasAllJoined = false;
  #failure: ServingError | undefined;

  constructor(wish: Wish) {
    this.#wish = wish;
  }

  /** Takes part in a flight. */
  join(flight: Flight<Result>, index: number): void {
    const waiter = { ...this.#wish, settle: (outcome: Result | ServingError) => this.#take(index, outcome) };
    this.#joined.push({ flight, waiter });
    flight.join(waiter);
  }

  /** @throws ServingError what a flight has failed with while the caller was busy before it joined the others */
  throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Gives up: leaves what has not come yet. */
  leave(): void {
    this.#isOver = true;
    for (const { flight, waiter } of this.#joined) flight.leave(waiter);
  }

  /**
   * Waits until all have come. To be called once, when all that is wanted has been joined.
   * @throws ServingError what one of them failed with; the signal's reason; DEADLINE_EXCEEDED
   */
  async all({ signal, hardDeadlineUs, clock, owner }: Patience): Promise<void> {
    this.throwIfFailed();
    this.#hasAllJoined = true;
    if (this.results.size === this.#joined.length) return;
    const startedUs = clock.nowUs();
    const abort = () => this.#fail(cancelled(signal));
    const cancelTimer =
      hardDeadlineUs === Number.POSITIVE_INFINITY
        ? undefined
        : clock.after(Math.max(0, hardDeadlineUs - startedUs), () => {
            const waitedMs = Math.round((clock.nowUs() - startedUs) / 1000);
            this.#fail(
              new ServingError('DEADLINE_EXCEEDED', `${owner}: the deadline passed after ${waitedMs} ms.`),
            );
          });
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) abort();
    try {
      await this.#done.promise;
    } finally {
      cancelTimer?.();
      signal?.removeEventListener('abort', abort);
    }
  }

  #take(index: number, outcome: Result | ServingError): void {
    if (this.#isOver) return;
    if (outcome instanceof ServingError) {
      this.#fail(outcome);
      return;
    }
    this.results.set(index, outcome);
    if (!this.#hasAllJoined || this.results.size < this.#joined.length) return;
    this.#isOver = true;
    this.#done.resolve();
  }

  #fail(error: ServingError): void {
    if (this.#isOver) return;
    this.#failure = error;
    this.leave();
    if (this.#hasAllJoined) this.#done.reject(error);
  }
}

function cancelled(signal: AbortSignal | undefined): ServingError {
  const reason: unknown = signal?.reason;
  return reason instanceof ServingError
    ? reason
    : new ServingError('CANCELLED', 'The caller cancelled the request.');
}
