import type { Measured } from './point.ts';

/** One measurement at one concurrency. */
export interface Rung extends Measured {
  concurrency: number;
}

const MOST_CONCURRENCY = 256;
/** Throughput that grows by less than this has reached its end. */
const LEAST_GAIN = 1.03;

/**
 * The concurrency to measure next on the way up, or undefined when more would tell nothing: it doubles as long as the
 * target holds and throughput grows; once the target breaks, one try half way back looks for what lies between.
 * @param rungs what was measured so far, in this order
 * @param first concurrency to begin with
 */
export function nextConcurrency(
  rungs: readonly Rung[],
  { first, targetP99Ms }: { first: number; targetP99Ms: number },
): number | undefined {
  const highest = rungs.toSorted((a, b) => a.concurrency - b.concurrency);
  const last = highest.at(-1);
  if (last === undefined) return first;
  if (last.p99Ms > targetP99Ms) return between(highest, targetP99Ms);
  const [before, middle] = highest.slice(-3);
  const isFlat =
    highest.length >= 3 &&
    middle!.textsPerSecond < before!.textsPerSecond * LEAST_GAIN &&
    last.textsPerSecond < before!.textsPerSecond * LEAST_GAIN;
  if (isFlat || last.concurrency * 2 > MOST_CONCURRENCY) return undefined;
  return last.concurrency * 2;
}

/** Half way between the highest rung that holds and the next one, unless that was tried already. */
function between(rising: readonly Rung[], targetP99Ms: number): number | undefined {
  const breaks = rising.findIndex(({ p99Ms }) => p99Ms > targetP99Ms);
  const above = rising[breaks]!.concurrency;
  const below = rising[breaks - 1]?.concurrency;
  // A start above the target goes back towards one request at a time.
  if (below === undefined) return above > 1 ? Math.floor(above / 2) : undefined;
  const isTried = above !== below * 2;
  const half = Math.floor((above + below) / 2);
  return isTried || half === below ? undefined : half;
}
