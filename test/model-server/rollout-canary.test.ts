import { describe, expect, it } from 'vitest';
import { type CanaryWindow, judge } from '../../model-server/models/rollout/canary.ts';
import type { CanaryGuards, CanaryPlan } from '../../model-server/models/rollout/status.ts';

const values = (count: number, mean: number) => ({ count, mean, min: mean, p01: mean, p50: mean });
const window = (changes: Partial<CanaryWindow>): CanaryWindow => ({
  requests: 200,
  errors: 0,
  newP99Ms: 10,
  oldP99Ms: 10,
  oldRequests: 1000,
  cosine: undefined,
  kendallTau: undefined,
  ...changes,
});
const plan = (guards: CanaryGuards, minRequests = 200): CanaryPlan => ({
  alias: 'stable',
  from: 1,
  to: 2,
  steps: [1, 10, 100],
  minRequests,
  guards,
});
const all = { maxErrorRate: 0.01, maxP99Ratio: 1.5, minCosine: 0.98, minKendallTau: 0.9 };
const good = { cosine: values(20, 0.99), kendallTau: values(20, 0.95) };

interface Row {
  it: string;
  guards?: CanaryGuards;
  minRequests?: number;
  seen: Partial<CanaryWindow>;
  what: string;
  why?: RegExp;
}

const rows: Row[] = [
  {
    it: 'no guard, too few requests',
    seen: { requests: 199 },
    what: 'hold',
    why: /^waits for 1 more answers of version 2$/,
  },
  {
    it: 'no guard, enough requests',
    seen: { requests: 200 },
    what: 'advance',
    why: /200 requests at 1 %/,
  },
  { it: 'all guards kept', guards: all, seen: good, what: 'advance', why: /maxP99Ratio 1 \(limit 1\.5\)/ },

  {
    it: 'errors below the evidence',
    guards: { maxErrorRate: 0 },
    seen: { requests: 19, errors: 19 },
    what: 'hold',
  },
  {
    it: 'errors at the evidence',
    guards: { maxErrorRate: 0 },
    seen: { requests: 20, errors: 1 },
    what: 'rollBack',
    why: /1 of 20 requests of version 2 failed, above the allowed rate of 0/,
  },
  {
    it: 'a short step needs less evidence',
    guards: { maxErrorRate: 0 },
    minRequests: 5,
    seen: { requests: 5, errors: 1 },
    what: 'rollBack',
  },
  {
    it: 'an early failure that the step may have',
    guards: { maxErrorRate: 0.01 },
    seen: { requests: 20, errors: 2 },
    what: 'hold',
  },
  {
    it: 'more early failures than the step may have',
    guards: { maxErrorRate: 0.01 },
    seen: { requests: 20, errors: 3 },
    what: 'rollBack',
  },
  {
    it: 'as many failures as allowed',
    guards: { maxErrorRate: 0.01 },
    seen: { requests: 202, errors: 2 },
    what: 'advance',
  },
  {
    it: 'a limit that is no round number in binary',
    guards: { maxErrorRate: 0.29 },
    minRequests: 142,
    seen: { requests: 200, errors: 58 },
    what: 'advance',
  },
  {
    it: 'one failure more than allowed',
    guards: { maxErrorRate: 0.01 },
    seen: { requests: 299, errors: 3 },
    what: 'rollBack',
  },

  { it: 'p99 at the limit', guards: { maxP99Ratio: 1.5 }, seen: { newP99Ms: 15 }, what: 'advance' },
  {
    it: 'p99 above the limit',
    guards: { maxP99Ratio: 1.5 },
    seen: { newP99Ms: 15.1 },
    what: 'rollBack',
    why: /p99 of version 2 is 15\.1 ms, 1\.51 times the 10 ms of version 1; the limit is 1\.5/,
  },
  {
    it: 'p99 above the limit of too few',
    guards: { maxP99Ratio: 1.5 },
    seen: { requests: 199, newP99Ms: 99 },
    what: 'hold',
  },
  {
    it: 'p99 without the old version',
    guards: { maxP99Ratio: 1.5 },
    seen: { oldRequests: 40 },
    what: 'hold',
    why: /60 more requests of version 1/,
  },
  {
    it: 'no guard, and no answer',
    seen: { requests: 900, errors: 900 },
    what: 'hold',
    why: /200 more answers/,
  },

  {
    it: 'cosine without mirrored requests',
    guards: { minCosine: 0.98 },
    seen: {},
    what: 'hold',
    why: /20 more mirrored values of cosine/,
  },
  {
    it: 'cosine with too few',
    guards: { minCosine: 0.98 },
    seen: { cosine: values(19, 0) },
    what: 'hold',
    why: /1 more mirrored/,
  },
  {
    it: 'cosine broken, before the step is done',
    guards: { minCosine: 0.98 },
    seen: { requests: 30, cosine: values(20, 0.97) },
    what: 'rollBack',
    why: /mean cosine of versions 1 and 2 is 0\.97 over 20 mirrored values; the limit is 0\.98/,
  },
  { it: 'cosine kept', guards: { minCosine: 0.98 }, seen: { cosine: values(20, 0.98) }, what: 'advance' },
  {
    it: 'tau broken',
    guards: { minKendallTau: 0.9 },
    seen: { kendallTau: values(20, 0.5) },
    what: 'rollBack',
    why: /Kendall tau/,
  },
  {
    it: 'tau without mirrored requests',
    guards: { minKendallTau: 0.9 },
    seen: { cosine: values(99, 1) },
    what: 'hold',
  },

  { it: 'one broken guard beats missing evidence', guards: all, seen: { errors: 99 }, what: 'rollBack' },
  {
    it: 'several broken guards are all told',
    guards: all,
    seen: { ...good, requests: 299, errors: 99, newP99Ms: 99 },
    what: 'rollBack',
    why: /99 of 299 .*; p99 of version 2/,
  },
];

describe('a canary at its first step', () => {
  it.each(rows)('$it: $what', ({ guards = {}, minRequests, seen, what, why }) => {
    const verdict = judge(plan(guards, minRequests), 0, window(seen));
    expect(verdict.what).toBe(what);
    if (why !== undefined) expect(verdict.why).toMatch(why);
  });
});

describe('a canary', () => {
  it.each([
    [0, 'advance'],
    [1, 'advance'],
    [2, 'promote'],
  ])('at step %d with all guards kept: %s', (step, what) => {
    expect(judge(plan(all), step, window(good)).what).toBe(what);
  });

  it('tells every reading with its limit', () => {
    expect(judge(plan(all), 0, window({ ...good, requests: 250, errors: 1, newP99Ms: 20 })).readings).toEqual(
      [
        { name: 'maxErrorRate', limit: 0.01, actual: 0.004, ok: true },
        { name: 'maxP99Ratio', limit: 1.5, actual: 2, ok: false },
        { name: 'minCosine', limit: 0.98, actual: 0.99, ok: true },
        { name: 'minKendallTau', limit: 0.9, actual: 0.95, ok: true },
      ],
    );
    expect(judge(plan(all), 0, window({ requests: 3 })).readings).toEqual([]);
  });
});
