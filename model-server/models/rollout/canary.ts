import type { CanaryPlan, Distribution, GuardReading } from './status.ts';

/** Failed requests tell something from this many requests on. */
const LEAST_REQUESTS = 20;
/** Mirrored requests that an agreement guard wants, if the plan wants no fewer. */
const LEAST_MIRRORED = 20;
/** Of the new version's requests at most every tenth is mirrored: enough for the figures of a long step. */
const MOST_APART = 10;
/** Requests of the old version that its p99 wants, if the plan wants no fewer. */
export const LEAST_BASELINE = 100;

/** One in this many requests of the new version is run on the old one too, so that evidence is there when a step is done. */
export function mirrorEvery(plan: Pick<CanaryPlan, 'minRequests'>): number {
  return Math.min(MOST_APART, Math.floor(plan.minRequests / leastMirrored(plan)));
}

/** Mirrored values that an agreement guard wants. */
function leastMirrored({ minRequests }: Pick<CanaryPlan, 'minRequests'>): number {
  return Math.min(minRequests, LEAST_MIRRORED);
}

/** What happened since the current step began. */
export interface CanaryWindow {
  /** Requests that the new version was given, failed ones included. */
  requests: number;
  errors: number;
  newP99Ms: number;
  oldP99Ms: number;
  /** Requests that the old version's p99 rests on. */
  oldRequests: number;
  cosine: Distribution | undefined;
  kendallTau: Distribution | undefined;
}

export interface CanaryVerdict {
  what: 'hold' | 'advance' | 'promote' | 'rollBack';
  /** A sentence with the figures that decided. */
  why: string;
  /** Guards that there is evidence for. */
  readings: GuardReading[];
}

interface Opinion {
  reading?: GuardReading;
  /** What is still missing before the guard can be read. */
  missing?: string;
  broken?: string;
}

/**
 * What to do with a canary at a step. A broken guard rolls back at once, as soon as there is evidence for it:
 * - error rate: from min(minRequests, 20) requests on, when there are more errors than max(requests, minRequests)
 *   requests may have, so that one early failure does not end a long step;
 * - p99: from minRequests answers on, against at least min(minRequests, 100) requests of the old version;
 * - cosine and Kendall tau: the mean of at least min(minRequests, 20) mirrored values.
 *
 * Otherwise the step holds until minRequests are answered and every guard has its evidence.
 */
export function judge(plan: CanaryPlan, step: number, window: CanaryWindow): CanaryVerdict {
  const opinions = [
    errorRate(plan, window),
    p99Ratio(plan, window),
    agreement('minCosine', plan, window.cosine),
    agreement('minKendallTau', plan, window.kendallTau),
  ].filter((opinion) => opinion !== undefined);
  const readings = opinions.flatMap(({ reading }) => reading ?? []);
  const broken = opinions.flatMap((opinion) => opinion.broken ?? []);
  if (broken.length > 0) return { what: 'rollBack', why: broken.join('; '), readings };

  const missing = opinions.flatMap((opinion) => opinion.missing ?? []);
  const short = plan.minRequests - answered(window);
  if (short > 0) missing.unshift(`${short} more answers of version ${plan.to}`);
  if (missing.length > 0) return { what: 'hold', why: `waits for ${missing.join(', ')}`, readings };

  const last = step >= plan.steps.length - 1;
  const told = readings.map(({ name, actual, limit }) => `${name} ${round(actual)} (limit ${limit})`);
  const why = [`${window.requests} requests at ${plan.steps[step]} %`, ...told].join(', ');
  return { what: last ? 'promote' : 'advance', why, readings };
}

function errorRate(plan: CanaryPlan, { requests, errors }: CanaryWindow): Opinion | undefined {
  const limit = plan.guards.maxErrorRate;
  if (limit === undefined) return undefined;
  const need = Math.min(plan.minRequests, LEAST_REQUESTS);
  if (requests < need) return {};
  const allowed = limit * Math.max(requests, plan.minRequests);
  // A rate like 0.29 of 100 is a hair below 29 in binary.
  const ok = errors <= allowed + 1e-9;
  const reading: GuardReading = { name: 'maxErrorRate', limit, actual: errors / requests, ok };
  if (ok) return { reading };
  return {
    reading,
    broken: `${errors} of ${requests} requests of version ${plan.to} failed, above the allowed rate of ${limit}`,
  };
}

function p99Ratio(plan: CanaryPlan, window: CanaryWindow): Opinion | undefined {
  const limit = plan.guards.maxP99Ratio;
  if (limit === undefined) return undefined;
  const need = Math.min(plan.minRequests, LEAST_BASELINE);
  if (answered(window) < plan.minRequests) return {};
  if (window.oldRequests < need || !(window.oldP99Ms > 0)) {
    return {
      missing: `${Math.max(1, need - window.oldRequests)} more requests of version ${plan.from} to compare p99 with`,
    };
  }
  const actual = window.newP99Ms / window.oldP99Ms;
  const reading: GuardReading = { name: 'maxP99Ratio', limit, actual, ok: actual <= limit };
  if (reading.ok) return { reading };
  return {
    reading,
    broken: `p99 of version ${plan.to} is ${round(window.newP99Ms)} ms, ${round(actual)} times the ${round(window.oldP99Ms)} ms of version ${plan.from}; the limit is ${limit}`,
  };
}

function agreement(
  name: 'minCosine' | 'minKendallTau',
  plan: CanaryPlan,
  seen: Distribution | undefined,
): Opinion | undefined {
  const limit = plan.guards[name];
  if (limit === undefined) return undefined;
  const [what, bringer] = name === 'minCosine' ? ['cosine', 'Embed'] : ['Kendall tau', 'Rerank'];
  const short = leastMirrored(plan) - (seen?.count ?? 0);
  // Who only sends raw tensors would wait for ever, and must be able to see why.
  if (seen === undefined || short > 0)
    return { missing: `${short} more mirrored values of ${what}, which ${bringer} requests bring` };
  const reading: GuardReading = { name, limit, actual: seen.mean, ok: seen.mean >= limit };
  if (reading.ok) return { reading };
  return {
    reading,
    broken: `mean ${what} of versions ${plan.from} and ${plan.to} is ${round(seen.mean)} over ${seen.count} mirrored values; the limit is ${limit}`,
  };
}

const answered = ({ requests, errors }: CanaryWindow) => requests - errors;

const round = (value: number) => Number(value.toPrecision(4));
