import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseVersion, pickShare, type Share } from '../../model-server/models/rollout/traffic.ts';

const keys = Array.from({ length: 20_000 }, (_, at) => `key ${at}`);
const salt = { salt: 'm/stable' };
const shares = (weights: Record<number, number>): Share[] =>
  Object.entries(weights).map(([version, weight]) => ({ version: Number(version), weight }));
const countOf = (weights: Record<number, number>) => {
  const counts = new Map<number, number>();
  for (const key of keys) {
    const version = chooseVersion(shares(weights), key, salt)!;
    counts.set(version, (counts.get(version) ?? 0) + 1);
  }
  return counts;
};

const anyShares = fc
  .uniqueArray(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 6 })
  .chain((versions) =>
    fc.tuple(
      ...versions.map((version) =>
        fc.double({ min: 0.01, max: 1000, noNaN: true }).map((weight) => ({ version, weight })),
      ),
    ),
  );

describe('the version of a key', () => {
  it('is the same whenever it is asked for, in whatever order the versions stand', () => {
    fc.assert(
      fc.property(anyShares, fc.string(), (all, key) => {
        const version = chooseVersion(all, key, salt);
        expect(all.map((share) => share.version)).toContain(version);
        expect(chooseVersion([...all].reverse(), key, salt)).toBe(version);
      }),
    );
  });

  // Computed with Python's hashlib. A change of these would move every caller: it must be made on purpose.
  it('stays the same from release to release', () => {
    const some = ['', 'alice', 'bob', 'carol', 'dave', 'erin', 'frank', 'grace'];
    expect(some.map((key) => chooseVersion(shares({ 1: 50, 2: 50 }), key, salt))).toEqual([
      1, 2, 1, 2, 1, 1, 2, 2,
    ]);
  });

  it.each([
    { 1: 90, 2: 10 },
    { 1: 1, 2: 1 },
    { 1: 50, 2: 30, 7: 20 },
    { 1: 0.99, 2: 0.01 },
  ])('follows the weights %j over many keys', (weights: Record<number, number>) => {
    const sum = Object.values(weights).reduce((total, weight) => total + weight);
    const counts = countOf(weights);
    for (const [version, weight] of Object.entries(weights)) {
      const expected = weight / sum;
      // Five standard deviations of a binomial draw.
      const slack = 5 * Math.sqrt((expected * (1 - expected)) / keys.length);
      expect(Math.abs((counts.get(Number(version)) ?? 0) / keys.length - expected)).toBeLessThan(slack);
    }
  });

  it('moves only to the version whose weight is raised', () => {
    const factor = fc.double({ min: 1, max: 100, noNaN: true });
    fc.assert(
      fc.property(anyShares, factor, fc.array(fc.string(), { maxLength: 50 }), (all, more, some) => {
        const raised = { version: all[0]!.version, weight: all[0]!.weight * more };
        for (const key of some) {
          const before = chooseVersion(all, key, salt);
          const after = chooseVersion([raised, ...all.slice(1)], key, salt);
          if (after !== before) expect(after).toBe(raised.version);
        }
      }),
    );
  });

  it('moves only the keys of a version that may not be taken', () => {
    fc.assert(
      fc.property(anyShares, fc.string(), (all, key) => {
        const before = chooseVersion(all, key, salt)!;
        const lost = all[0]!.version;
        const after = chooseVersion(all, key, { ...salt, usable: (version) => version !== lost });
        if (before !== lost) expect(after).toBe(before);
        else if (all.length === 1) expect(after).toBeUndefined();
        else expect(after).not.toBe(lost);
      }),
    );
  });

  it('does not depend on the choice under another salt', () => {
    const both = keys.filter(
      (key) =>
        chooseVersion(shares({ 1: 1, 2: 1 }), key, { salt: 'a' }) === 1 &&
        chooseVersion(shares({ 1: 1, 2: 1 }), key, { salt: 'b' }) === 1,
    );
    expect(Math.abs(both.length / keys.length - 0.25)).toBeLessThan(0.02);
  });

  it('is none when there is no version', () => expect(chooseVersion([], 'a', salt)).toBeUndefined());
});

describe('a share of the keys', () => {
  it.each([0.1, 1, 10, 50, 99])('is %d percent of them', (percent) => {
    const picked = keys.filter((key) => pickShare(key, percent, 's')).length / keys.length;
    const slack = 5 * Math.sqrt(((percent / 100) * (1 - percent / 100)) / keys.length);
    expect(Math.abs(picked - percent / 100)).toBeLessThan(slack);
  });

  it('is none at 0 and all at 100', () => {
    expect(keys.some((key) => pickShare(key, 0, 's'))).toBe(false);
    expect(keys.every((key) => pickShare(key, 100, 's'))).toBe(true);
  });

  it('only grows with the percent', () => {
    const percent = fc.double({ min: 0, max: 100, noNaN: true });
    fc.assert(
      fc.property(percent, percent, fc.string(), (a, b, key) => {
        if (pickShare(key, Math.min(a, b), 's')) expect(pickShare(key, Math.max(a, b), 's')).toBe(true);
      }),
    );
  });

  it('does not depend on the version that the key takes', () => {
    const first = keys.filter((key) => chooseVersion(shares({ 1: 1, 2: 1 }), key, salt) === 1);
    const picked = first.filter((key) => pickShare(key, 20, 'm/shadow')).length / first.length;
    expect(Math.abs(picked - 0.2)).toBeLessThan(0.02);
  });
});
