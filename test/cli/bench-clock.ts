import type { LoadClock } from '../../cli/bench/load-clock.ts';

/** A clock for loads that moves only when a test moves it. Timers run at their own time, in order. */
export class ManualLoadClock implements LoadClock {
  #nowMs = 0;
  #cpuUs = 0;
  #timers: { atMs: number; call: () => void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  cpuUs(): number {
    return this.#cpuUs;
  }

  after(delayMs: number, call: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, call };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** @param coresUsed CPU that the process uses meanwhile */
  advanceTo(untilMs: number, coresUsed = 0): void {
    for (;;) {
      const next = this.#timers
        .filter(({ atMs }) => atMs <= untilMs)
        .reduce<{ atMs: number; call: () => void } | undefined>(
          (first, timer) => (first === undefined || timer.atMs < first.atMs ? timer : first),
          undefined,
        );
      const toMs = next?.atMs ?? untilMs;
      this.#cpuUs += Math.max(0, toMs - this.#nowMs) * 1000 * coresUsed;
      this.#nowMs = Math.max(this.#nowMs, toMs);
      if (next === undefined) return;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      next.call();
    }
  }
}
