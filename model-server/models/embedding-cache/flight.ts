import { ServingError } from '../../errors.ts';
import { PRIORITIES, type Priority, type SubmitOptions } from '../../scheduler/scheduler-options.ts';

/** How a caller wants work to be done that it may share with others. */
export interface Wish {
  priority: Priority;
  tenant: string;
  /** On the scheduler's clock; Infinity: none. */
  deadlineUs: number;
}

/** One caller of shared work. */
export interface Waiter<Result> extends Wish {
  /** Called once, unless the caller has left before. */
  settle(outcome: Result | ServingError): void;
}

/** Begins the work once. @throws ServingError when it is refused */
export type Start<Result> = (options: SubmitOptions) => Promise<Result>;

/**
 * Work that is done once for all who want it while it is under way. It goes on while anyone waits for it, and is cancelled
 * when nobody does. It is begun with the wish of who came first; begun a second time for one who is more urgent, in the hope
 * that this comes sooner; and begun again when it was too late for those who came first, but not for the others.
 */
export class Flight<Result extends object> {
  readonly #start: Start<Result>;
  readonly #onEnd: () => void;
  readonly #waiters = new Set<Waiter<Result>>();
  /** Under way; the first result counts. */
  readonly #attempts = new Set<Wish>();
  readonly #cancelling = new AbortController();
  #hasEnded = false;

  /** @param onEnd told once, when it is settled or nobody waits for it: from then on it must not be joined */
  constructor(start: Start<Result>, onEnd: () => void) {
    this.#start = start;
    this.#onEnd = onEnd;
  }

  /**
   * Waits for the work; the first one begins it.
   * @throws what beginning it throws, for the first one only: the others have what is under way already
   */
  join(waiter: Waiter<Result>): void {
    this.#waiters.add(waiter);
    if (this.#attempts.size === 0) {
      this.#begin(waiter);
      return;
    }
    const rank = PRIORITIES.indexOf(waiter.priority);
    if ([...this.#attempts].some(({ priority }) => PRIORITIES.indexOf(priority) <= rank)) return;
    try {
      this.#begin(waiter);
    } catch {
      // Refused for want of room or time: what is under way will have to do.
    }
  }

  /** Waits no longer. */
  leave(waiter: Waiter<Result>): void {
    if (this.#waiters.delete(waiter) && this.#waiters.size === 0) this.#end();
  }

  #begin({ priority, tenant, deadlineUs }: Wish): void {
    const attempt = { priority, tenant, deadlineUs };
    const { signal } = this.#cancelling;
    const isEndless = deadlineUs === Number.POSITIVE_INFINITY;
    const work = this.#start({ priority, tenant, deadlineUs: isEndless ? undefined : deadlineUs, signal });
    this.#attempts.add(attempt);
    work.then(
      (result) => {
        this.#attempts.delete(attempt);
        this.#settle(result);
      },
      (thrown: unknown) => this.#failed(attempt, ServingError.from(thrown)),
    );
  }

  #failed(attempt: Wish, error: ServingError): void {
    this.#attempts.delete(attempt);
    if (this.#hasEnded) return;
    if (error.reason !== 'DEADLINE_EXCEEDED') {
      if (this.#attempts.size === 0) this.#settle(error);
      return;
    }
    for (const waiter of this.#waiters) {
      if (waiter.deadlineUs > attempt.deadlineUs) continue;
      this.#waiters.delete(waiter);
      waiter.settle(error);
    }
    // Whoever was told may have left with all that it waited for, here and elsewhere.
    if (this.#waiters.size === 0) this.#end();
    else if (this.#attempts.size === 0) this.#beginAgain();
  }

  /** For those who still have time: until the last one's deadline, as urgently as the most urgent one wants it. */
  #beginAgain(): void {
    const left = [...this.#waiters];
    const rank = Math.min(...left.map(({ priority }) => PRIORITIES.indexOf(priority)));
    const mostPatient = left.reduce((most, waiter) => (waiter.deadlineUs > most.deadlineUs ? waiter : most));
    try {
      const { tenant, deadlineUs } = mostPatient;
      this.#begin({ tenant, deadlineUs, priority: PRIORITIES[rank]! });
    } catch (thrown) {
      this.#settle(ServingError.from(thrown));
    }
  }

  #settle(outcome: Result | ServingError): void {
    if (this.#hasEnded) return;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    this.#end();
    for (const waiter of waiters) waiter.settle(outcome);
  }

  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#onEnd();
    if (this.#attempts.size > 0)
      this.#cancelling.abort(new ServingError('CANCELLED', 'Nobody waits for it.'));
  }
}
