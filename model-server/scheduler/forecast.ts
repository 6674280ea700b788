import type { BatchResult, Executor } from '../types.ts';
import type { CostModel } from './cost-model.ts';
import type { Load } from './load.ts';

/** What waits. */
export interface Waiting {
  tokens: number;
  tensorRows: number;
}

/** How much a new figure counts in a running average. */
const NEW_SHARE = 0.1;
/** The same for how much later than expected texts are done: there are many of them in a second. */
const NEW_DELAY_SHARE = 0.02;
const MOST_DELAY = 4;
/** After this time without news a third of a delay is left: calls that are refused for it bring none. */
const DELAY_FADES_US = 1_000_000;
/** Advice when nothing has been measured yet. */
const UNKNOWN_WAIT_MS = 1000;

/** When work will be done, from what waits, what runs and what batches cost. */
export class Forecast {
  readonly #costs: CostModel;
  readonly #running = new Map<Load, { instance: Executor; startedUs: number; endsUs: number }>();
  /** When an instance was last done with a batch. */
  readonly #doneUs = new WeakMap<Executor, number>();
  #usPerTensorRow = 0;
  /** What texts took as a share of what was expected: batches are not all there is to an answer. */
  #delay = 1;
  /** When that was last heard of. */
  #delayUs = 0;
  /** What batches of texts took lately. */
  #batchUs = 0;

  constructor(costs: CostModel) {
    this.#costs = costs;
  }

  /** Instances that have been given a batch; one of them may have been given another ahead of time. */
  get busyInstances(): number {
    return new Set(Array.from(this.#running.values(), ({ instance }) => instance)).size;
  }

  started(load: Load, { instance, nowUs }: { instance: Executor; nowUs: number }): void {
    const { shape, tensorRows } = load;
    const us = shape === undefined ? tensorRows * this.#usPerTensorRow : this.#costs.predictUs(shape);
    this.#running.set(load, { instance, startedUs: nowUs, endsUs: nowUs + us });
  }

  /**
   * Learns from a batch that is done.
   * @param instance that ran it
   */
  done(
    load: Load,
    { computeUs, postUs }: BatchResult,
    { instance, nowUs }: { instance: Executor; nowUs: number },
  ): void {
    const startedUs = this.#running.get(load)?.startedUs ?? nowUs;
    // A batch that was handed over ahead of time has waited for the one before it.
    const heldUs = nowUs - Math.max(startedUs, this.#doneUs.get(instance) ?? startedUs);
    this.#doneUs.set(instance, nowUs);
    for (const { expectedUs, enqueuedUs } of load.items)
      this.tookUs(expectedUs, { tookUs: nowUs - enqueuedUs, nowUs });
    if (instance.isLone) return;
    if (load.shape !== undefined) {
      this.#costs.learn(load.shape, computeUs + postUs, heldUs);
      this.#batchUs = average(this.#batchUs, heldUs);
    } else this.#usPerTensorRow = average(this.#usPerTensorRow, heldUs / Math.max(1, load.tensorRows));
  }

  /** Whether it was done or has failed. */
  ended(load: Load): void {
    this.#running.delete(load);
  }

  /** When the first of the running batches is likely to end, from now. */
  nextFreeInUs(nowUs: number): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { endsUs } of this.#running.values()) least = Math.min(least, endsUs - nowUs);
    return least === Number.POSITIVE_INFINITY ? 0 : Math.max(0, least);
  }

  /**
   * Microseconds that a text takes in the batch that it will get: as long as batches took lately, but not longer than one of
   * all that waits.
   */
  batchOfUs(tokens: number, waitingTokens: number): number {
    if (!this.#costs.isKnown) return 0;
    const alone = this.#costs.predictUs({ rows: 1, tokens, length: tokens });
    const all = Math.max(alone, waitingTokens * this.#costs.usPerToken);
    return Math.max(alone, Math.min(all, this.#batchUs));
  }

  /** Learns how much later than expected a text was done. */
  tookUs(expectedUs: number | undefined, { tookUs, nowUs }: { tookUs: number; nowUs: number }): void {
    if (expectedUs === undefined) return;
    const delay = Math.min(MOST_DELAY, Math.max(1 / MOST_DELAY, tookUs / expectedUs));
    this.#delay = this.#delayAt(nowUs) * (1 - NEW_DELAY_SHARE) + delay * NEW_DELAY_SHARE;
    this.#delayUs = nowUs;
  }

  /** The time in which what is expected to take so long is really done, as things go lately. */
  likelyUs(expectedUs: number, nowUs: number): number {
    return expectedUs * this.#delayAt(nowUs);
  }

  /** How long what waits will take from now, never below 1 ms; a second when nothing is known yet. */
  waitMs(waiting: Waiting, { nowUs, instances }: { nowUs: number; instances: number }): number {
    if (!this.#costs.isKnown && this.#usPerTensorRow === 0) return UNKNOWN_WAIT_MS;
    const us = waiting.tokens * this.#costs.usPerToken + waiting.tensorRows * this.#usPerTensorRow;
    return Math.max(1, Math.ceil((us + this.#runningUs(nowUs)) / Math.max(1, instances) / 1000));
  }

  /**
   * Microseconds until texts that come now are done.
   * @param aheadTokens of all that is likely to be computed until then, theirs included
   * @param longest tokens of the longest of them
   * @returns undefined when too little has been measured to tell
   */
  doneInUs(
    { aheadTokens, longest }: { aheadTokens: number; longest: number },
    { nowUs, instances }: { nowUs: number; instances: number },
  ): number | undefined {
    if (!this.#costs.isKnown) return undefined;
    const own = this.#costs.predictUs({ rows: 1, tokens: longest, length: longest });
    const queue = (aheadTokens * this.#costs.usPerToken) / Math.max(1, instances);
    return this.#runningUs(nowUs) / Math.max(1, instances) + Math.max(own, queue);
  }

  #delayAt(nowUs: number): number {
    return 1 + (this.#delay - 1) * Math.exp(Math.min(0, this.#delayUs - nowUs) / DELAY_FADES_US);
  }

  /** What the running batches still take, of all instances together. */
  #runningUs(nowUs: number): number {
    let us = 0;
    for (const { endsUs } of this.#running.values()) us += Math.max(0, endsUs - nowUs);
    return us;
  }
}

function average(old: number, next: number): number {
  return old === 0 ? next : old * (1 - NEW_SHARE) + next * NEW_SHARE;
}
