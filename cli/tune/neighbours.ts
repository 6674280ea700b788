import type { Candidate } from './point.ts';

/** What bounds the refinement. */
export interface Bounds {
  cores: number;
  targetP99Ms: number;
}

const LEAST_TOKENS = 64;
const MOST_TOKENS = 8192;
const DELAYS_US = [0, 500, 1000, 2000, 4000, 8000];
/** A text that waits longer than this share of the target has little left to be computed in. */
const MOST_OF_TARGET = 0.25;

/** The candidates that differ from this one in one step of one value, the most promising first. */
export function neighbours(of: Candidate, { cores, targetP99Ms }: Bounds): Candidate[] {
  const at = DELAYS_US.indexOf(of.queueDelayUs);
  const steps: Partial<Candidate>[] = [
    { batchTokens: of.batchTokens * 2 },
    { batchTokens: Math.round(of.batchTokens / 2) },
    { queueDelayUs: DELAYS_US[at + 1] ?? Number.POSITIVE_INFINITY },
    { queueDelayUs: DELAYS_US[at - 1] ?? Number.POSITIVE_INFINITY },
    { instances: of.instances - 1 },
    { instances: of.instances + 1 },
  ];
  return steps
    .map((step) => ({ ...of, ...step }))
    .filter(
      ({ instances, threads, batchTokens, queueDelayUs }) =>
        instances > 0 &&
        instances * threads <= cores &&
        batchTokens >= LEAST_TOKENS &&
        batchTokens <= MOST_TOKENS &&
        (queueDelayUs === 0 || queueDelayUs / 1000 <= targetP99Ms * MOST_OF_TARGET),
    );
}
