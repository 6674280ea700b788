import { ServingError } from '../errors.ts';
import type { Clock } from './clock.ts';
import type { Forecast } from './forecast.ts';
import type { Item } from './item.ts';
import type { Addition, BoundedQueue } from './queue.ts';
import type { SubmitOptions } from './scheduler-options.ts';

export interface AdmissionParts {
  /** Model and version, for messages. */
  owner: string;
  queue: BoundedQueue<Item>;
  forecast: Forecast;
  clock: Clock;
  /** Instances that share the work. */
  instances: () => number;
}

/**
 * How much longer than likely a call is taken to need: one that is refused in vain costs an answer, one that is let in in vain
 * costs the work as well.
 */
const CAUTION = 1.15;

/** Callers and timers give up a little before a deadline. */
const TOO_LATE_US = 5000;

/** Decides what is let in and what is still worth running: work that can't be done in time only delays work that can. */
export class Admission {
  readonly #parts: AdmissionParts;

  constructor(parts: AdmissionParts) {
    this.#parts = parts;
  }

  /** How long what waits will take from now, in milliseconds; never below 1. */
  waitMs(): number {
    const { queue, forecast } = this.#parts;
    return forecast.waitMs({ tokens: queue.tokens, tensorRows: queue.tensorRows }, this.#now());
  }

  /** @throws ServingError QUEUE_FULL when the inputs of a call do not fit, all together */
  refuseFull(addition: Omit<Addition, 'priority'>, { priority = 'default' }: SubmitOptions): void {
    this.#parts.queue.admit({ ...addition, priority }, () => this.waitMs());
  }

  /**
   * @param call tokens of all its texts, and of the longest
   * @returns microseconds until it is expected to be done; undefined without a deadline, or when nothing is known yet
   * @throws ServingError DEADLINE_UNREACHABLE when it would be done after its deadline
   */
  refuseUnreachable(call: { tokens: number; longest: number }, options: SubmitOptions): number | undefined {
    const { priority = 'default', tenant = '', deadlineUs = Number.POSITIVE_INFINITY } = options;
    if (deadlineUs === Number.POSITIVE_INFINITY) return undefined;
    const { owner, queue, forecast } = this.#parts;
    const now = this.#now();
    const leftUs = deadlineUs - now.nowUs;
    // What comes after its deadline was late before it came; the queue says so in its own words.
    if (leftUs <= 0) return undefined;
    const aheadTokens = queue.aheadTokens({ priority, tenant }, call.tokens);
    const expectedUs = forecast.doneInUs({ aheadTokens, longest: call.longest }, now);
    if (expectedUs === undefined) return undefined;
    const doneInUs = forecast.likelyUs(expectedUs, now.nowUs) * CAUTION;
    if (doneInUs <= leftUs) return expectedUs;
    const [leftMs, predictedMs] = [Math.floor(leftUs / 1000), Math.round(doneInUs / 1000)];
    const retryAfterMs = Math.max(1, predictedMs - leftMs);
    throw new ServingError(
      'DEADLINE_UNREACHABLE',
      `${owner}: an answer may take ${predictedMs} ms, the deadline leaves ${leftMs} ms. Try again in about ${retryAfterMs} ms, elsewhere, or with more time.`,
      { retryAfterMs },
    );
  }

  /**
   * Why an item that waits is not to be run any more: its caller has stopped waiting, or will have before it is done.
   * @param nowUs when its batch would begin
   */
  lateness(item: Item, nowUs: number): ServingError | undefined {
    const leftUs = item.deadlineUs - nowUs;
    if (leftUs === Number.POSITIVE_INFINITY) return undefined;
    const { owner, queue, forecast } = this.#parts;
    const needsUs = item.kind === 'text' ? forecast.batchOfUs(item.tokens, queue.tokens) : 0;
    if (leftUs > needsUs * CAUTION) return undefined;
    forecast.tookUs(item.expectedUs, { tookUs: nowUs - item.enqueuedUs + needsUs, nowUs });
    const waitedMs = Math.round((nowUs - item.enqueuedUs) / 1000);
    const what =
      leftUs <= 0
        ? `the deadline passed after ${waitedMs} ms in the queue`
        : `after ${waitedMs} ms in the queue the deadline leaves ${Math.floor(leftUs / 1000)} ms, and its batch would take about ${Math.round(needsUs / 1000)} ms`;
    return new ServingError('DEADLINE_EXCEEDED', `${owner}: ${what}.`, { retryAfterMs: this.waitMs() });
  }

  /** An item was settled while it waited: where its time was up, the expectation that let it in was wrong. */
  gaveUp({ deadlineUs, enqueuedUs, expectedUs }: Item): void {
    const { clock, forecast } = this.#parts;
    const nowUs = clock.nowUs();
    if (nowUs >= deadlineUs - TOO_LATE_US) forecast.tookUs(expectedUs, { tookUs: nowUs - enqueuedUs, nowUs });
  }

  #now(): { nowUs: number; instances: number } {
    const { clock, instances } = this.#parts;
    return { nowUs: clock.nowUs(), instances: instances() };
  }
}
