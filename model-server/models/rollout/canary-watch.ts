import { type CanaryVerdict, judge, LEAST_BASELINE } from './canary.ts';
import { TrafficWindow } from './figures.ts';
import { ShadowBook } from './shadow-book.ts';
import type { RolloutPlan, TrafficFigures } from './status.ts';

type Canary = NonNullable<RolloutPlan['canary']>;

/** A p99 and the requests that it rests on. */
interface Latency {
  requests: number;
  p99Ms: number;
}

/** The figures of one model's traffic since its window began, and what they say of a canary. */
export class CanaryWatch {
  readonly book = new ShadowBook();
  readonly #windows = new Map<number, TrafficWindow>();
  /** The old version's latency before the step; at 100 % it gets no requests any more to measure it by. */
  #baseline: (Latency & { version: number }) | undefined;

  record(version: number, ms: number, ok: boolean): void {
    let window = this.#windows.get(version);
    if (window === undefined) {
      window = new TrafficWindow();
      this.#windows.set(version, window);
    }
    window.add(ms, ok);
  }

  /** Begins a new window. What the old version of `canary` took so far is kept to compare with. */
  reset(canary: Canary | undefined): void {
    if (canary === undefined || this.#baseline?.version !== canary.from) this.#baseline = undefined;
    const window = canary && this.#windows.get(canary.from);
    if (canary !== undefined && window !== undefined) {
      const latest = { version: canary.from, ...latencyOf(window.latency) };
      const better = latest.requests >= Math.min(LEAST_BASELINE, this.#baseline?.requests ?? 1);
      if (better) this.#baseline = latest;
    }
    this.#windows.clear();
    this.book.clear();
  }

  /** Forgets versions that are gone. */
  keep(exists: (version: number) => boolean): void {
    for (const version of this.#windows.keys()) if (!exists(version)) this.#windows.delete(version);
  }

  /** What the figures say now. */
  verdict(canary: Canary): CanaryVerdict {
    const pair = this.book.peek({ version: canary.from, against: canary.to });
    const window = this.#windows.get(canary.to);
    const old = this.#oldLatency(canary);
    return judge(canary, canary.step, {
      requests: window?.requests ?? 0,
      errors: window?.errors ?? 0,
      newP99Ms: window?.latency.quantile(0.99) ?? 0,
      oldP99Ms: old.p99Ms,
      oldRequests: old.requests,
      cosine: pair?.cosine.read(),
      kendallTau: pair?.kendallTau.read(),
    });
  }

  /** Requests that a version was given since the window began. */
  requestsOf(version: number): number {
    return this.#windows.get(version)?.requests ?? 0;
  }

  read(): TrafficFigures[] {
    return [...this.#windows]
      .map(([version, { requests, errors, latency }]) => ({
        version,
        requests,
        errors,
        p50Ms: latency.quantile(0.5),
        p99Ms: latency.quantile(0.99),
      }))
      .sort((left, right) => left.version - right.version);
  }

  /** The best there is: this window, else the one before, else mirrored requests, which may have waited longer. */
  #oldLatency({ from, to, minRequests }: Canary): Latency {
    const need = Math.min(minRequests, LEAST_BASELINE);
    const window = this.#windows.get(from)?.latency;
    const sources: Latency[] = [];
    if (window !== undefined) sources.push(latencyOf(window));
    if (this.#baseline?.version === from) sources.push(this.#baseline);
    const mirrored = this.book.peek({ version: from, against: to })?.latency;
    if (mirrored !== undefined) sources.push(latencyOf(mirrored));
    const enough = sources.find(({ requests }) => requests >= need);
    if (enough !== undefined) return enough;
    return sources.sort((left, right) => right.requests - left.requests)[0] ?? { requests: 0, p99Ms: 0 };
  }
}

const latencyOf = (window: { count: number; quantile(share: number): number }): Latency => ({
  requests: window.count,
  p99Ms: window.quantile(0.99),
});
