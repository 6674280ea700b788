import { ServingError } from '../../errors.ts';
import { PRIORITIES, type Priority } from '../../scheduler/priority.ts';

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

/** Work that is under way. */
export interface UnderWay<Result> {
  promise: Promise<Result>;
  /** Nobody waits for this any more; other work that was begun with it may end with LEFT, too. */
  cancel(): void;
}

/** Begins the work. @throws ServingError when it is refused */
export type Start<Result> = (wish: Wish) => UnderWay<Result>;

/** What work fails with that was cancelled because nobody waits for it, or for other work that was begun with it. */
export const LEFT = new ServingError('CANCELLED', 'Nobody waits for it any more.');

/**
 * Work that is done once for all who want it while it is under way. It goes on while anyone waits for it, and is cancelled
 * when nobody does. It is begun with the wish of who came first; begun a second time for one who is more urgent, in the hope
 * that this comes sooner; and begun again when it has ended for reasons of who came first, but others still wait.
 */
export class Flight<Result extends object> {
  readonly #start: Start<Result>;
  readonly #onEnd: () => void;
  readonly #waiters = new Set<Waiter<Result>>();
  /** Under way; the first result counts. */
  readonly #attempts = new Map<UnderWay<Result>, Wish>();
  #hasEnded = false;

  /**
   * Nothing is under way before `fly` is called.
   * @param start begins the work once more
   * @param onEnd told once, when it is settled or nobody waits for it: from then on it must not be joined
   */
  constructor(start: Start<Result>, onEnd: () => void) {
    this.#start = start;
    this.#onEnd = onEnd;
  }

  /** Takes over work that has been begun, perhaps together with that of other flights. */
  fly(underWay: UnderWay<Result>, { priority, tenant, deadlineUs }: Wish): void {
    this.#attempts.set(underWay, { priority, tenant, deadlineUs });
    underWay.promise.then(
      (result) => {
        this.#attempts.delete(underWay);
        this.#settle(result);
      },
      (thrown: unknown) => this.#failed(underWay, ServingError.from(thrown)),
    );
  }

  /** Waits for the work, too. */
  join(waiter: Waiter<Result>): void {
    this.#waiters.add(waiter);
    const rank = PRIORITIES.indexOf(waiter.priority);
    for (const { priority } of this.#attempts.values()) if (PRIORITIES.indexOf(priority) <= rank) return;
    if (this.#attempts.size === 0) return;
    try {
      this.fly(this.#start(waiter), waiter);
    } catch {
      // Refused for want of room or time: what is under way will have to do.
    }
  }

  /** Waits no longer. */
  leave(waiter: Waiter<Result>): void {
    if (this.#waiters.delete(waiter) && this.#waiters.size === 0) this.#end();
  }

  #failed(underWay: UnderWay<Result>, error: ServingError): void {
    const { deadlineUs } = this.#attempts.get(underWay)!;
    this.#attempts.delete(underWay);
    if (this.#hasEnded) return;
    if (error.reason === 'DEADLINE_EXCEEDED') this.#expire(deadlineUs, error);
    // Whoever was told may have left with all that it waited for, here and elsewhere.
    if (this.#waiters.size === 0) this.#end();
    else if (this.#attempts.size > 0) return;
    else if (error === LEFT || error.reason === 'DEADLINE_EXCEEDED') this.#beginAgain();
    else this.#settle(error);
  }

  #expire(deadlineUs: number, error: ServingError): void {
    for (const waiter of this.#waiters) {
      if (waiter.deadlineUs > deadlineUs) continue;
      this.#waiters.delete(waiter);
      waiter.settle(error);
    }
  }

  /** For those who still wait: until the last one's deadline, as urgently as the most urgent one wants it. */
  #beginAgain(): void {
    const left = [...this.#waiters];
    const rank = Math.min(...left.map(({ priority }) => PRIORITIES.indexOf(priority)));
    const mostPatient = left.reduce((most, waiter) => (waiter.deadlineUs > most.deadlineUs ? waiter : most));
    const { tenant, deadlineUs } = mostPatient;
    const wish = { tenant, deadlineUs, priority: PRIORITIES[rank]! };
    try {
      this.fly(this.#start(wish), wish);
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
    for (const underWay of this.#attempts.keys()) underWay.cancel();
  }
}
