import type { Distribution } from './status.ts';

/** Values that a window remembers; p99 then rests on the 20 slowest. */
const WINDOW = 2048;

/** The value below which `share` (0 to 1) of the sorted values lie, by nearest rank; 0 without any. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) return 0;
  const rank = Math.ceil(share * sorted.length);
  return sorted[Math.min(Math.max(rank, 1), sorted.length) - 1]!;
}

/**
 * The newest values of a stream, in bounded memory. Quantiles are read from a sorted copy that is renewed after every
 * 32nd part of new values, so that asking after each value stays cheap; up to 32 values they are exact.
 */
export class ValueWindow {
  #values = new Float64Array(16);
  #sorted = new Float64Array(0);
  #sortedAt = 0;
  #count = 0;

  /** Values seen since the beginning, forgotten ones included. */
  get count(): number {
    return this.#count;
  }

  /** Takes in one value; what is no finite number is left out. */
  add(value: number): void {
    if (!Number.isFinite(value)) return;
    if (this.#count === this.#values.length && this.#count < WINDOW) {
      const wider = new Float64Array(this.#values.length * 2);
      wider.set(this.#values);
      this.#values = wider;
    }
    this.#values[this.#count % WINDOW] = value;
    this.#count += 1;
  }

  /** Quantile of the newest 2048 values; 0 without any. */
  quantile(share: number): number {
    const kept = Math.min(this.#count, WINDOW);
    if (this.#count - this.#sortedAt > kept >> 5 || this.#sorted.length === 0) {
      this.#sorted = this.#values.slice(0, kept).sort();
      this.#sortedAt = this.#count;
    }
    return quantile(this.#sorted, share);
  }
}

/** Requests, errors and latency of one version since the window began. */
export class TrafficWindow {
  requests = 0;
  errors = 0;
  /** Milliseconds of the answered ones; a failure's time says nothing about the model's speed. */
  readonly latency = new ValueWindow();

  add(ms: number, ok: boolean): void {
    this.requests += 1;
    if (ok) this.latency.add(ms);
    else this.errors += 1;
  }
}

/** A distribution in bounded memory: count, mean and min of all values, quantiles of the newest 2048. */
export class RunningDistribution {
  readonly #window = new ValueWindow();
  #sum = 0;
  #min = Number.POSITIVE_INFINITY;

  add(value: number): void {
    if (!Number.isFinite(value)) return;
    this.#window.add(value);
    this.#sum += value;
    this.#min = Math.min(this.#min, value);
  }

  /** What has been seen; undefined before the first value. */
  read(): Distribution | undefined {
    const { count } = this.#window;
    if (count === 0) return undefined;
    return {
      count,
      mean: this.#sum / count,
      min: this.#min,
      p01: this.#window.quantile(0.01),
      p50: this.#window.quantile(0.5),
    };
  }
}
