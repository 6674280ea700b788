import { OK } from './door.ts';
import { quantile } from './figures.ts';
import type { LoadResult } from './load-plan.ts';

/** One call that is over. */
export interface Finished {
  dueMs: number;
  sentMs: number;
  endedMs: number;
  texts: number;
  tokens: number;
  reason: string;
  message: string | undefined;
}

/** Counts the calls of one stretch of load. */
export class Tally {
  readonly startMs: number;
  endMs: number;
  readonly #timeoutMs: number;
  readonly #latenciesMs: number[] = [];
  readonly #lateMs: number[] = [];
  readonly #failures: LoadResult['failures'] = {};
  #texts = 0;
  #tokens = 0;
  #calls = 0;
  #textsInTime = 0;

  /** @param timeoutMs deadline from due; 0: none */
  constructor(startMs: number, endMs: number, timeoutMs: number) {
    this.startMs = startMs;
    this.endMs = endMs;
    this.#timeoutMs = timeoutMs;
  }

  add(call: Finished): void {
    const { dueMs, sentMs, endedMs, reason } = call;
    if (reason === OK) {
      // Counted whole at its end, a call of many texts would make the rate jump by whether it falls into the stretch.
      const inside = Math.max(0, Math.min(endedMs, this.endMs) - Math.max(sentMs, this.startMs));
      const whole = Math.max(endedMs - sentMs, 1e-6);
      const isPoint = endedMs === sentMs && sentMs >= this.startMs && sentMs < this.endMs;
      const share = isPoint ? 1 : inside / whole;
      this.#texts += call.texts * share;
      this.#tokens += call.tokens * share;
    }
    if (dueMs < this.startMs || dueMs >= this.endMs) return;
    this.#calls++;
    this.#lateMs.push(sentMs - dueMs);
    if (reason === OK) {
      const tookMs = endedMs - dueMs;
      this.#latenciesMs.push(tookMs);
      if (this.#timeoutMs === 0 || tookMs <= this.#timeoutMs) this.#textsInTime += call.texts;
      return;
    }
    this.#failures[reason] ??= { calls: 0, message: call.message ?? '' };
    this.#failures[reason].calls++;
  }

  /** @param clientCores what the client used within the stretch */
  result(clientCores: number, mostInFlight: number): LoadResult {
    return {
      seconds: (this.endMs - this.startMs) / 1000,
      texts: this.#texts,
      tokens: this.#tokens,
      calls: this.#calls,
      callsOk: this.#latenciesMs.length,
      textsInTime: this.#textsInTime,
      latenciesMs: Float64Array.from(this.#latenciesMs).sort(),
      failures: this.#failures,
      clientCores,
      lateMs: quantile(
        this.#lateMs.sort((a, b) => a - b),
        0.99,
      ),
      mostInFlight,
    };
  }
}
