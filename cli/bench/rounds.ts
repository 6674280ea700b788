import type { Limit, LimitRate } from './limit.ts';
import type { LoadGenerator } from './load-generator.ts';
import type { LoadResult, RunPlan } from './load-plan.ts';
import { readServerMetrics, type ServerWork, workBetween } from './server-metrics.ts';

/** A server under load, and where its metrics are, if it has any. */
export interface Contender {
  generator: Pick<LoadGenerator, 'run' | 'stop'>;
  metricsUrl?: string | undefined;
}

/** One stretch of load on one server. */
export interface Measured {
  result: LoadResult;
  work: ServerWork | undefined;
}

/** One round: everything that is compared, one after the other. */
export interface Round {
  served: Measured;
  against: Measured | undefined;
  limit: LimitRate | undefined;
}

export interface RoundsOptions {
  served: Contender;
  against?: Contender | undefined;
  limit?: Pick<Limit, 'run'> | undefined;
  plan: RunPlan;
  rounds: number;
  /** Ends the measurement early; rounds that are whole count. */
  signal?: AbortSignal | undefined;
  onStep?: ((step: { round: number; what: 'served' | 'against' | 'limit' }) => void) | undefined;
}

/** Time that the limit runs before it is measured, as its caches are cold after the server's turn. */
const LIMIT_WARM_UP_MS = 300;

/** Measures in turns, so that what the machine does besides hits all alike; every second round goes backwards. */
export async function runRounds(options: RoundsOptions): Promise<Round[]> {
  const { served, against, limit, plan, signal, onStep } = options;
  const rounds: Round[] = [];
  while (rounds.length < options.rounds && !signal?.aborted) {
    const round: Partial<Round> = {};
    const steps = [
      ...(limit === undefined ? [] : [{ what: 'limit' as const }]),
      { what: 'served' as const },
      ...(against === undefined ? [] : [{ what: 'against' as const }]),
    ];
    for (const { what } of rounds.length % 2 === 0 ? steps : steps.reverse()) {
      if (signal?.aborted) break;
      onStep?.({ round: rounds.length + 1, what });
      if (what === 'limit') round.limit = await limitRate(limit!, plan.durationMs, signal);
      else if (what === 'served') round.served = await measure(served, plan, signal);
      else round.against = await measure(against!, plan, signal);
    }
    const { served: measured } = round;
    // A round that Ctrl-C has cut off before the server's turn holds nothing.
    if (measured !== undefined && measured.result.calls > 0)
      rounds.push({ served: measured, against: round.against, limit: round.limit });
  }
  return rounds;
}

/** Undefined when it was ended early: a part of a stretch says nothing that the other rounds do not. */
async function limitRate(
  limit: Pick<Limit, 'run'>,
  durationMs: number,
  signal: AbortSignal | undefined,
): Promise<LimitRate | undefined> {
  const measured = limit.run(LIMIT_WARM_UP_MS).then(() => limit.run(durationMs));
  const ended = Promise.withResolvers<undefined>();
  const onAbort = () => ended.resolve(undefined);
  signal?.addEventListener('abort', onAbort, { once: true });
  return Promise.race([measured, ended.promise]).finally(() => signal?.removeEventListener('abort', onAbort));
}

/** One stretch of load, with what the server says about it. */
export async function measure(
  { generator, metricsUrl }: Contender,
  plan: RunPlan,
  signal?: AbortSignal,
): Promise<Measured> {
  const look = () => (metricsUrl === undefined ? undefined : readServerMetrics(metricsUrl));
  const stop = () => generator.stop();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const before = await look();
    const result = await generator.run(plan);
    return { result, work: workBetween(before, await look()) };
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
