import { describe, expect, it } from 'vitest';
import {
  NO_PLAN,
  withCanary,
  withoutCanary,
  withShadow,
  withTraffic,
} from '../../model-server/models/rollout/plan-changes.ts';
import { claimedSpace, problemsOf } from '../../model-server/models/rollout/plan-problems.ts';
import { compileRoutes, followRoute } from '../../model-server/models/rollout/routes.ts';
import type { CanaryPlan, RolloutPlan, VersionFact } from '../../model-server/models/rollout/status.ts';

const embedder = (version: number, space: string): VersionFact => ({ version, space, makesVectors: true });
const ranker = (version: number): VersionFact => ({ version, space: '', makesVectors: false });
const plan = (changes: Partial<RolloutPlan>): RolloutPlan => ({ ...NO_PLAN, ...changes });
const canaryPlan: CanaryPlan = {
  alias: 'stable',
  from: 1,
  to: 2,
  steps: [25, 100],
  minRequests: 5,
  guards: {},
};
const canary = { ...canaryPlan, step: 0 };
const mixed = plan({ aliases: { stable: { 1: 70, 2: 30 } } });

describe('a plan beside the versions that there are', () => {
  const same = [embedder(1, 'a'), embedder(2, 'a')];
  const apart = [embedder(1, 'a'), embedder(2, 'b')];

  it.each<[string, RolloutPlan, VersionFact[], (RegExp | string)[]]>([
    ['one space', mixed, same, []],
    [
      'two spaces',
      mixed,
      apart,
      [/alias "stable" would mix versions of different vector spaces \(1 in a; 2 in b\)/],
    ],
    ['two spaces, allowed', { ...mixed, mixedSpaces: true }, apart, []],
    ['two spaces, claimed to be one', { ...mixed, sameSpace: [1, 2] }, apart, []],
    ['a claim for other versions', { ...mixed, sameSpace: [1, 3] }, apart, [/different vector spaces/]],
    ['two spaces, one without a share', plan({ aliases: { stable: { 1: 1, 2: 0 } } }), apart, []],
    ['a space that is not known yet', mixed, [embedder(1, 'a'), embedder(2, '')], []],
    ['rankers', mixed, [ranker(1), ranker(2)], []],
    [
      'an unknown version',
      mixed,
      [embedder(1, 'a')],
      ['alias "stable" names version 2, which does not exist; there are 1'],
    ],
    [
      'no version at all',
      plan({ shadow: { version: 4, percent: 1 } }),
      [],
      ['the shadow names version 4, which does not exist; there are none'],
    ],
    ['an unknown version without a share', plan({ aliases: { stable: { 1: 1, 9: 0 } } }), same, []],
    ['a shadow of another space', plan({ shadow: { version: 2, percent: 1 } }), apart, []],
    ['a canary', plan({ aliases: { stable: { 1: 1 } }, canary }), same, []],
    ['a canary of another space', plan({ aliases: { stable: { 1: 1 } }, canary }), apart, [/1 in a; 2 in b/]],
    [
      'a canary of nothing',
      plan({ aliases: { stable: { 1: 1 } }, canary: { ...canary, to: 3 } }),
      same,
      [/the canary names version 3/],
    ],
  ])('%s', (_what, plan, facts, expected) => {
    const problems = problemsOf(plan, facts);
    expect(problems).toHaveLength(expected.length);
    for (const [at, message] of expected.entries()) expect(problems[at]!.message).toMatch(message);
  });

  it('is told with the reason that fits', () => {
    expect(problemsOf(mixed, apart)[0]!.reason).toBe('SPACE_MISMATCH');
    expect(problemsOf(mixed, [])[0]!.reason).toBe('VERSION_NOT_FOUND');
  });
});

describe('a claimed space', () => {
  const facts = [embedder(1, 'a'), embedder(2, 'b'), embedder(3, ''), embedder(4, 'd')];
  it.each([
    ['no claim', [], 2, 'b', 'b'],
    ['the lowest itself', [1, 2], 1, 'a', 'a'],
    ['a higher one', [2, 1], 2, 'b', 'a'],
    ['one that is not claimed', [1, 2], 4, 'd', 'd'],
    ['one whose own space is not known', [2, 3], 3, '', 'b'],
    ['above one whose space is not known', [3, 4], 4, 'd', 'd'],
    ['a lower one that is gone', [9, 4], 9, 'x', 'd'],
    ['below all that are listed', [2, 4], 2, 'b', 'b'],
  ])('with %s', (_what, sameSpace, version, ownSpace, expected) => {
    expect(claimedSpace(plan({ sameSpace }), facts, { version, ownSpace })).toBe(expected);
  });
  it('of a version below all that are listed is its own', () => {
    const claim = plan({ sameSpace: [1, 4] });
    expect(claimedSpace(claim, facts.slice(1), { version: 1, ownSpace: 'x' })).toBe('x');
  });
  it('without a plan is its own', () => {
    expect(claimedSpace(undefined, facts, { version: 2, ownSpace: 'b' })).toBe('b');
  });
});

describe('routes', () => {
  const keys = Array.from({ length: 4000 }, (_, at) => `k${at}`);
  const shareOf = (plan: RolloutPlan, facts: VersionFact[], usable?: (version: number) => boolean) => {
    const route = compileRoutes(plan, facts, 'm').get('stable')!;
    const counts: Record<string, number> = {};
    for (const key of keys) {
      const version = String(followRoute(route, key, usable));
      counts[version] = (counts[version] ?? 0) + 1 / keys.length;
    }
    return counts;
  };
  const same = [embedder(1, 'a'), embedder(2, 'a')];
  const close = (share: number) => expect.closeTo(share, 1);

  it('follow the weights', () => expect(shareOf(mixed, same)).toEqual({ 1: close(0.7), 2: close(0.3) }));

  it('give a canary its percent, and the rest to the version that it came from', () => {
    const going = plan({ aliases: { stable: { 1: 100 } }, canary });
    expect(shareOf(going, same)).toEqual({ 1: close(0.75), 2: close(0.25) });
    expect(shareOf({ ...going, canary: { ...canary, step: 1 } }, same)).toEqual({ 2: close(1) });
  });

  it('take a canary step by step only towards the new version', () => {
    const at = (steps: number[]) =>
      compileRoutes(plan({ aliases: { stable: { 1: 100 } }, canary: { ...canary, steps } }), same, 'm').get(
        'stable',
      )!;
    for (const key of keys) {
      if (followRoute(at([10, 100]), key) === 2) expect(followRoute(at([50, 100]), key)).toBe(2);
    }
  });

  it('pass the share of what is not usable to the others', () => {
    const going = plan({ aliases: { stable: { 1: 100 } }, canary });
    expect(shareOf(mixed, same, (version) => version === 2)).toEqual({ 2: close(1) });
    expect(shareOf(going, same, (version) => version === 1)).toEqual({ 1: close(1) });
    expect(shareOf(going, same, (version) => version === 2)).toEqual({ 2: close(1) });
    expect(shareOf(going, same, () => false)).toEqual({ undefined: close(1) });
  });

  it('give a canary no more than its percent where its version has a weight already', () => {
    const going = plan({ aliases: { stable: { 1: 50, 2: 50 } }, canary });
    expect(shareOf(going, same)).toEqual({ 1: close(0.75), 2: close(0.25) });
  });

  it('leave out versions that are gone', () => {
    expect(shareOf(mixed, [embedder(2, 'a')])).toEqual({ 2: close(1) });
    const going = plan({ aliases: { stable: { 1: 100 } }, canary });
    expect(shareOf(going, [embedder(1, 'a')])).toEqual({ 1: close(1) });
  });

  it('never mix spaces that turn out to differ: the heaviest stays, or what a canary came from', () => {
    const apart = [embedder(1, 'a'), embedder(2, 'b')];
    expect(shareOf(mixed, apart)).toEqual({ 1: close(1) });
    expect(shareOf({ ...mixed, mixedSpaces: true }, apart)).toEqual({ 1: close(0.7), 2: close(0.3) });
    expect(shareOf(plan({ aliases: { stable: { 1: 100 } }, canary }), apart)).toEqual({ 1: close(1) });
    expect(shareOf(plan({ aliases: { stable: { 1: 10, 2: 90 } }, canary }), apart)).toEqual({ 1: close(1) });
  });
});

describe('a change of a plan', () => {
  const going = plan({ defaultAlias: 'stable', aliases: { stable: { 1: 100 } }, canary });

  it('sets weights, of the default alias or of a new one', () => {
    const first = withTraffic(NO_PLAN, { alias: '', weights: { 1: 1 }, makeDefault: false });
    expect(first).toEqual(plan({ aliases: { stable: { 1: 1 } } }));
    const next = withTraffic(first, {
      alias: 'next',
      weights: { 2: 1 },
      makeDefault: true,
      mixedSpaces: true,
    });
    expect(next).toMatchObject({
      defaultAlias: 'next',
      mixedSpaces: true,
      aliases: { stable: { 1: 1 }, next: { 2: 1 } },
    });
    expect(withTraffic(next, { alias: '', weights: { 3: 1 }, makeDefault: false })).toMatchObject({
      mixedSpaces: true,
      aliases: { next: { 3: 1 } },
    });
  });

  it.each<[string, () => unknown, RegExp]>([
    [
      'bad weights',
      () => withTraffic(NO_PLAN, { alias: 'a', weights: { 1: Number.NaN }, makeDefault: false }),
      /aliases\.a\.1 must be a weight/,
    ],
    [
      'no weights',
      () => withTraffic(NO_PLAN, { alias: 'a', weights: {}, makeDefault: false }),
      /aliases\.a must give/,
    ],
    [
      'a bad name',
      () => withTraffic(NO_PLAN, { alias: '../a', weights: { 1: 1 }, makeDefault: false }),
      /must be an alias name/,
    ],
    [
      'weights under a canary',
      () => withTraffic(going, { alias: '', weights: { 1: 1 }, makeDefault: false }),
      /a canary of alias "stable" is under way/,
    ],
    ['a bad shadow', () => withShadow(NO_PLAN, { version: 1, percent: 200 }), /shadow\.percent/],
    ['a second canary', () => withCanary(going, canaryPlan), /from version 1 to 2 is under way/],
    [
      'a canary of an unknown alias',
      () => withCanary(mixed, { ...canaryPlan, alias: 'x' }),
      /names "x", which is none/,
    ],
    [
      'a canary of a shared alias',
      () => withCanary(plan({ aliases: { stable: { 1: 1, 3: 1 } } }), canaryPlan),
      /shared by 1, 3/,
    ],
    [
      'a canary to where the alias is already',
      () => withCanary(plan({ aliases: { stable: { 2: 1 } } }), canaryPlan),
      /stands for version 2 already/,
    ],
    [
      'a name that would be lost',
      () => withTraffic(NO_PLAN, { alias: '__proto__', weights: { 1: 1 }, makeDefault: false }),
      /can't be called "__proto__"/,
    ],
    ['a canary from nowhere', () => withCanary(NO_PLAN, { ...canaryPlan, from: 0 }), /must be a version/],
    ['an end without canary', () => withoutCanary(mixed, 'promoted'), /no canary is under way/],
  ])('is refused: %s', (_what, change, message) => {
    expect(change).toThrow(
      expect.objectContaining({ reason: 'INVALID_INPUT', message: expect.stringMatching(message) }),
    );
  });

  it('begins a canary, and makes the alias where there is none', () => {
    const changed = withCanary(NO_PLAN, { ...canaryPlan, alias: '' });
    expect(changed).toMatchObject({
      defaultAlias: 'stable',
      aliases: { stable: { 1: 100 } },
      canary: { alias: 'stable', step: 0 },
    });
    const named = plan({ aliases: { a: { 7: 1 } } });
    expect(withCanary(named, { ...canaryPlan, alias: 'a', from: 0 }).canary).toMatchObject({
      alias: 'a',
      from: 7,
      to: 2,
    });
  });

  it('ends a canary', () => {
    expect(withoutCanary(going, 'promoted')).toEqual(
      plan({ defaultAlias: 'stable', aliases: { stable: { 2: 100 } } }),
    );
    expect(withoutCanary(going, 'rolled back')).toEqual(
      plan({ defaultAlias: 'stable', aliases: { stable: { 1: 100 } } }),
    );
  });
});
