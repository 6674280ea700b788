import type { LoopFigures } from './point.ts';

export interface Loop {
  /** Callers, each of which sends its next request when its last one is answered. */
  concurrency: number;
  durationMs: number;
  signal: AbortSignal;
  /** One request. */
  send: () => Promise<unknown>;
  /** Milliseconds from an arbitrary start. */
  nowMs: () => number;
}

/** The first part of a measurement fills the server's queues and counts for nothing. */
const WARM_UP_SHARE = 0.2;

/**
 * Keeps requests in flight. Latencies are of all requests that were answered after the warm-up, however long after the
 * end; throughput is what was answered between the two.
 * @throws the first failure of a request; the signal's reason
 */
export async function closedLoop({
  concurrency,
  durationMs,
  signal,
  send,
  nowMs,
}: Loop): Promise<LoopFigures> {
  const startedMs = nowMs();
  const warmMs = startedMs + durationMs * WARM_UP_SHARE;
  const endMs = startedMs + durationMs;
  const latenciesMs: number[] = [];
  let isFailed = false;
  let answeredInTime = 0;
  let lastMs = endMs;
  const caller = async () => {
    for (let sentMs = nowMs(); sentMs < endMs && !isFailed; sentMs = nowMs()) {
      signal.throwIfAborted();
      await send();
      lastMs = nowMs();
      if (lastMs >= warmMs) latenciesMs.push(lastMs - sentMs);
      if (lastMs >= warmMs && lastMs <= endMs) answeredInTime++;
    }
  };
  const callers = Array.from({ length: concurrency }, () =>
    caller().catch((error) => {
      isFailed = true;
      throw error;
    }),
  );
  await Promise.all(callers);
  latenciesMs.sort((a, b) => a - b);
  const quantile = (q: number) =>
    latenciesMs[Math.min(latenciesMs.length - 1, Math.floor(q * latenciesMs.length))]!;
  return {
    // A model so slow that nothing came back in time is timed to its last answer.
    textsPerSecond:
      answeredInTime > 0
        ? (answeredInTime / (endMs - warmMs)) * 1000
        : (latenciesMs.length / (lastMs - startedMs)) * 1000,
    p50Ms: quantile(0.5),
    p99Ms: quantile(0.99),
    requests: latenciesMs.length,
  };
}
