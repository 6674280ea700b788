import type { Outcome, Send } from './outcome.ts';

/** What requests take when nothing else runs. */
export interface Latency {
  p50Ms: number;
  p95Ms: number;
  requests: number;
}

/** All requests of a script in their shares together, and each kind by itself. */
export interface Baseline {
  all: Latency;
  kinds: Record<string, Latency>;
}

/** The requests of a script, with how often each kind is sent. */
export type Kinds = Readonly<Record<string, { send: Send; share: number }>>;

export interface BaselineOptions {
  /** Milliseconds from an arbitrary start. */
  nowMs: () => number;
  /** First rounds that count for nothing: connections open, caches fill. A round sends each kind as often as its share. */
  warmUpRounds: number;
  /** Measured rounds at most, and how long they may take; the first one is always finished. */
  rounds: number;
  longestMs: number;
}

/**
 * Sends one request after the other. Ratios to what this finds hold on any machine.
 * @throws Error when a request is not answered: without load that is no matter of being busy
 */
export function takeBaseline(
  kinds: Kinds,
  { nowMs, warmUpRounds, rounds, longestMs }: BaselineOptions,
): Baseline {
  const order = Object.entries(kinds).flatMap(([name, { share }]) => Array<string>(share).fill(name));
  const latenciesMs = new Map<string, number[]>(Object.keys(kinds).map((name) => [name, []]));
  for (let round = 0; round < warmUpRounds; round++)
    for (const name of order) mustAnswer(name, kinds[name]!.send());
  const startedMs = nowMs();
  for (let round = 0; round === 0 || (round < rounds && nowMs() - startedMs < longestMs); round++) {
    for (const name of order) {
      const sentMs = nowMs();
      mustAnswer(name, kinds[name]!.send());
      latenciesMs.get(name)!.push(nowMs() - sentMs);
    }
  }
  return {
    all: latencyOf([...latenciesMs.values()].flat()),
    kinds: Object.fromEntries([...latenciesMs].map(([name, all]) => [name, latencyOf(all)])),
  };
}

function latencyOf(latenciesMs: number[]): Latency {
  const rising = latenciesMs.toSorted((a, b) => a - b);
  const quantile = (q: number) => rising[Math.floor(q * (rising.length - 1))]!;
  return { p50Ms: quantile(0.5), p95Ms: quantile(0.95), requests: rising.length };
}

function mustAnswer(name: string, { kind, reason }: Outcome): void {
  if (kind !== 'answered')
    throw new Error(`no baseline: without any load, a request of kind ${name} ended with ${reason}`);
}
