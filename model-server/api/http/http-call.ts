import { ServingError } from '../../errors.ts';
import type { Carrier } from '../call-context.ts';
import type { PostRequest } from './server.ts';

/** Timers take no longer delays. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

/** A call over HTTP, as its context wants to know it: headers are its metadata, `connect-timeout-ms` its deadline. */
export class HttpCall implements Carrier, Disposable {
  readonly #request: Pick<PostRequest, 'headers' | 'gone' | 'onGone'>;
  readonly #deadlineMs: number;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param arrivedMs when the call came, in milliseconds since the epoch
   * @throws ServingError INVALID_INPUT for a timeout that is none
   */
  constructor(request: Pick<PostRequest, 'headers' | 'gone' | 'onGone'>, arrivedMs: number) {
    this.#request = request;
    this.#deadlineMs = arrivedMs + timeoutMsOf(request.headers['connect-timeout-ms']);
  }

  get metadata() {
    return { getMap: () => this.#request.headers };
  }

  getDeadline(): number {
    return this.#deadlineMs;
  }

  get cancelled(): boolean {
    return this.#request.gone || Date.now() >= this.#deadlineMs;
  }

  on(_: 'cancelled', listener: () => void): void {
    this.#request.onGone(listener);
    if (this.#deadlineMs !== Number.POSITIVE_INFINITY) this.#atDeadline(listener);
  }

  /** To be called when the answer is there, so that no timer is left. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #atDeadline(listener: () => void): void {
    const leftMs = this.#deadlineMs - Date.now();
    // A timer may go off a little too early, and must go off early when the deadline is too far away for it.
    if (leftMs <= 0) listener();
    else
      this.#timer = setTimeout(
        () => this.#atDeadline(listener),
        Math.min(Math.ceil(leftMs), LONGEST_DELAY_MS),
      );
  }
}

function timeoutMsOf(header: string | string[] | undefined): number {
  if (header === undefined) return Number.POSITIVE_INFINITY;
  if (typeof header === 'string' && /^\d{1,10}$/.test(header)) return Number(header);
  throw new ServingError(
    'INVALID_INPUT',
    `connect-timeout-ms is ${JSON.stringify(header)}; it must be a whole number of milliseconds with 10 digits at most.`,
  );
}
