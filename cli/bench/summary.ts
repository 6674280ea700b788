import { quantile, type Spread, spread } from './figures.ts';
import type { LoadResult } from './load-plan.ts';
import type { Measured, Round } from './rounds.ts';

/** A server's figures over all rounds. */
export interface ServerSummary {
  textsPerSecond: Spread | undefined;
  tokensPerSecond: Spread | undefined;
  /** Texts a second whose answer came within the deadline. */
  goodTextsPerSecond: Spread | undefined;
  /** Milliseconds from due to answered, over all rounds together; NaN when nothing was answered. */
  p50Ms: number;
  p95Ms: number;
  p99Ms: number;
  maxMs: number;
  calls: number;
  failures: LoadResult['failures'];
  paddingShare: Spread | undefined;
  meanBatch: Spread | undefined;
  serverCores: Spread | undefined;
  clientCores: Spread | undefined;
  /** 99th percentile of how late the client sent, in milliseconds; worst round. */
  lateMs: number;
}

/** What a run of `nereid bench` has found. */
export interface Summary {
  rounds: number;
  served: ServerSummary;
  against: ServerSummary | undefined;
  limit:
    | {
        textsPerSecond: Spread | undefined;
        /** The server's rate as a share of the limit of the whole machine. */
        ratio: Spread | undefined;
        /** The same to the limit of the cores that the client leaves. */
        ratioToRest: Spread | undefined;
        /** CPU of the limit for a token as a share of the server's: steadier than time where others use the machine too. */
        ratioOfCpu: Spread | undefined;
      }
    | undefined;
  /** The server's figure divided by the other's. */
  comparison: { rate: Spread | undefined; p99: Spread | undefined } | undefined;
}

/** Sums up rounds. Ratios are made within a round, and their median counts. */
export function summarise(rounds: readonly Round[], cores: number): Summary {
  const compared = rounds.filter(({ against }) => against !== undefined && against.result.calls > 0);
  const limited = rounds.filter(({ limit }) => limit !== undefined);
  return {
    rounds: rounds.length,
    served: ofServer(rounds.map(({ served }) => served)),
    against: compared.length === 0 ? undefined : ofServer(compared.map(({ against }) => against!)),
    limit:
      limited.length === 0
        ? undefined
        : {
            textsPerSecond: spread(limited.map(({ limit }) => limit!.textsPerSecond)),
            ratio: spread(limited.map((round) => ratioToLimit(round, cores).whole)),
            ratioToRest: spread(limited.map((round) => ratioToLimit(round, cores).rest)),
            ratioOfCpu: spread(limited.map(ratioOfCpu)),
          },
    comparison:
      compared.length === 0
        ? undefined
        : {
            rate: spread(compared.map(({ served, against }) => rateOf(served) / rateOf(against!))),
            p99: spread(compared.map(({ served, against }) => p99Of(served) / p99Of(against!))),
          },
  };
}

/**
 * A round's rate against its limit. Tokens are compared where they are known: within one stretch the texts of the two are
 * not equally long by chance.
 */
export function ratioToLimit({ served, limit }: Round, cores: number): { whole: number; rest: number } {
  const { result } = served;
  const tokens = result.tokens / result.seconds / limit!.tokensPerSecond;
  const whole = Number.isFinite(tokens) ? tokens : rateOf(served) / limit!.textsPerSecond;
  return { whole, rest: (whole * cores) / Math.max(cores - result.clientCores, 1e-9) };
}

/** CPU of the limit for a token as a share of the server's; undefined when the server does not tell its own. */
export function ratioOfCpu({ served, limit }: Round): number | undefined {
  const own = served.work?.cpuUsPerToken;
  return own === undefined ? undefined : limit!.cpuUsPerToken / own;
}

function ofServer(measured: readonly Measured[]): ServerSummary {
  const results = measured.map(({ result }) => result);
  const latencies = Float64Array.from(results.flatMap(({ latenciesMs }) => [...latenciesMs])).sort();
  const per = (of: (result: LoadResult) => number) =>
    spread(results.map((result) => of(result) / result.seconds));
  const works = measured.map(({ work }) => work);
  return {
    textsPerSecond: per(({ texts }) => texts),
    tokensPerSecond: per(({ tokens }) => tokens),
    goodTextsPerSecond: per(({ textsInTime }) => textsInTime),
    p50Ms: quantile(latencies, 0.5),
    p95Ms: quantile(latencies, 0.95),
    p99Ms: quantile(latencies, 0.99),
    maxMs: latencies.at(-1) ?? Number.NaN,
    calls: results.reduce((sum, { calls }) => sum + calls, 0),
    failures: failuresOf(results),
    paddingShare: spread(works.map((work) => work?.paddingShare)),
    meanBatch: spread(works.map((work) => work?.meanBatch)),
    serverCores: spread(works.map((work) => work?.cores)),
    clientCores: spread(results.map(({ clientCores }) => clientCores)),
    lateMs: Math.max(...results.map(({ lateMs }) => lateMs)),
  };
}

function failuresOf(results: readonly LoadResult[]): LoadResult['failures'] {
  const all: LoadResult['failures'] = {};
  for (const { failures } of results)
    for (const [reason, { calls, message }] of Object.entries(failures)) {
      all[reason] ??= { calls: 0, message };
      all[reason].calls += calls;
    }
  return all;
}

const rateOf = ({ result }: Measured) => result.texts / result.seconds;
const p99Of = ({ result }: Measured) => quantile(result.latenciesMs, 0.99);
