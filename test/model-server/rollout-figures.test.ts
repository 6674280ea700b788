import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cosine, kendallTau, topOverlap } from '../../model-server/models/rollout/agreement.ts';
import { compareVersions } from '../../model-server/models/rollout/compare.ts';
import { comparisonTexts } from '../../model-server/models/rollout/comparison-texts.ts';
import {
  RunningDistribution,
  TrafficWindow,
  ValueWindow,
} from '../../model-server/models/rollout/figures.ts';
import { ShadowBook } from '../../model-server/models/rollout/shadow-book.ts';

describe('a window of values', () => {
  it.each([
    [[5], 0.99, 5],
    [[1, 2], 0.5, 1],
    [[3, 1, 2], 0.5, 2],
    [Array.from({ length: 100 }, (_, at) => at + 1), 0.99, 99],
    [Array.from({ length: 200 }, (_, at) => 200 - at), 0.99, 198],
  ])('reads quantiles by nearest rank (case %#)', (values, share, expected) => {
    const window = new ValueWindow();
    for (const value of values) window.add(value);
    expect(window.quantile(share)).toBe(expected);
  });

  it('forgets all but the newest 2048 and still counts all', () => {
    const window = new ValueWindow();
    for (let at = 0; at < 10_000; at++) window.add(1000);
    for (let at = 0; at < 2048; at++) window.add(1);
    expect(window.count).toBe(12_048);
    expect(window.quantile(1)).toBe(1);
  });

  it('leaves out what is no number', () => {
    const window = new ValueWindow();
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 4]) window.add(value);
    expect([window.count, window.quantile(0.99)]).toEqual([1, 4]);
  });

  it('is near the exact quantile while it is asked after each value', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 400 }),
        (values) => {
          const window = new ValueWindow();
          for (const [at, value] of values.entries()) {
            window.add(value);
            const read = window.quantile(0.5);
            const below = values.slice(0, at + 1).filter((other) => other <= read).length;
            // The sorted copy may lack the newest 32nd part.
            expect(below).toBeGreaterThanOrEqual(Math.ceil((at + 1) / 2) - (at + 1) / 32 - 1);
          }
        },
      ),
    );
  });

  it('leaves failures out of the latency', () => {
    const window = new TrafficWindow();
    window.add(10, true);
    window.add(9000, false);
    expect([window.requests, window.errors, window.latency.quantile(0.99)]).toEqual([2, 1, 10]);
  });

  it('reads a distribution, and none before the first value', () => {
    const distribution = new RunningDistribution();
    expect(distribution.read()).toBeUndefined();
    for (const value of [0.5, 1, 0.9]) distribution.add(value);
    expect(distribution.read()).toEqual({
      count: 3,
      mean: expect.closeTo(0.8),
      min: 0.5,
      p01: 0.5,
      p50: 0.9,
    });
  });
});

describe('agreement', () => {
  it.each([
    [[1, 0], [1, 0], 1],
    [[1, 0], [0, 1], 0],
    [[1, 1], [-2, -2], -1],
    [[3, 4], [4, 3], 0.96],
    [[0, 0], [1, 0], 0],
    [[1, 0, 0], [1, 0], 0],
    [[Number.NaN, 1], [1, 1], 0],
  ])('cosine of %j and %j is %d', (a, b, expected) => expect(cosine(a, b)).toBeCloseTo(expected, 12));

  it.each([
    // scipy.stats.kendalltau's own example.
    [[12, 2, 1, 12, 2], [1, 4, 7, 1, 0], -0.47140452079103173],
    // The example of R's cor.test.
    [
      [44.4, 45.9, 41.9, 53.3, 44.7, 44.1, 50.7, 45.2, 60.1],
      [2.6, 3.1, 2.5, 5.0, 3.6, 4.0, 5.2, 2.8, 3.8],
      0.4444444444444444,
    ],
    [[1, 2, 3], [10, 20, 30], 1],
    [[1, 2, 3], [3, 2, 1], -1],
    // By hand: 4 concordant, 0 discordant, one pair tied on each side and none on both.
    [[1, 1, 2, 3], [1, 2, 2, 3], 0.8],
  ])("Kendall's tau of %j and %j is %d", (a, b, expected) =>
    expect(kendallTau(a, b)).toBeCloseTo(expected, 12),
  );

  it.each([
    [[], []],
    [[1], [2]],
    [
      [1, 1],
      [1, 2],
    ],
    [
      [1, 2],
      [1, 2, 3],
    ],
  ])('there is no tau of %j and %j', (a, b) => expect(kendallTau(a, b)).toBeUndefined());

  it("Kendall's tau is what counting all pairs gives", () => {
    const scores = fc.array(fc.tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 9 })), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(scores, (pairs) => {
        const [a, b] = [pairs.map(([x]) => x), pairs.map(([, y]) => y)];
        let [difference, apartA, apartB] = [0, 0, 0];
        for (let i = 0; i < a.length; i++)
          for (let j = 0; j < i; j++) {
            const [x, y] = [Math.sign(a[i]! - a[j]!), Math.sign(b[i]! - b[j]!)];
            difference += x * y;
            apartA += Math.abs(x);
            apartB += Math.abs(y);
          }
        const tau = kendallTau(a, b);
        if (apartA === 0 || apartB === 0) expect(tau).toBeUndefined();
        else expect(tau).toBeCloseTo(difference / Math.sqrt(apartA * apartB), 10);
      }),
    );
  });

  it.each([
    [[3, 2, 1], [3, 2, 1], 2, 1],
    [[3, 2, 1], [1, 2, 3], 2, 0.5],
    [[3, 2, 1], [1, 2, 3], 1, 0],
    [[3, 2, 1], [1, 2, 3], 10, 1],
    [[], [], 10, 1],
  ])('of %j and %j the top %d overlap by %d after all', (a, b, k, expected) =>
    expect(topOverlap(a, b, k)).toBe(expected),
  );
});

describe('the book of mirrored requests', () => {
  const pair = { version: 2, against: 1 };

  it('compares vectors, and counts other widths as no agreement', () => {
    const book = new ShadowBook();
    const vectors = [Float32Array.of(1, 0), Float32Array.of(0, 1)];
    const againstVectors = [Float32Array.of(1, 0), Float32Array.of(1, 0, 0)];
    book.add({ ...pair, kind: 'embed', ms: 30, againstMs: 10, vectors, againstVectors });
    const [figures] = book.read();
    expect(figures).toMatchObject({ version: 2, against: 1, requests: 1, errors: 0, dropped: 0 });
    expect(figures!.cosine).toMatchObject({ count: 2, mean: 0.5, min: 0 });
    expect(figures!.latencyRatio).toMatchObject({ count: 1, mean: 3 });
    expect(figures!.kendallTau).toBeUndefined();
  });

  it('compares rankings', () => {
    const book = new ShadowBook();
    book.add({ ...pair, kind: 'rerank', ms: 1, againstMs: 0, scores: [3, 2, 1], againstScores: [1, 2, 3] });
    book.add({ ...pair, kind: 'rerank', ms: 1, againstMs: 0, scores: [5], againstScores: [7] });
    expect(book.read()[0]).toMatchObject({
      requests: 2,
      kendallTau: { count: 1, mean: -1 },
      topOverlap: { count: 1, mean: 1 },
      cosine: undefined,
      latencyRatio: undefined,
    });
  });

  it('leaves out rankings of other documents', () => {
    const book = new ShadowBook();
    book.add({ ...pair, kind: 'rerank', ms: 1, againstMs: 1, scores: [3, 2, 1], againstScores: [1, 2] });
    expect(book.read()[0]).toMatchObject({ requests: 1, kendallTau: undefined, topOverlap: undefined });
  });

  it('compares 32 texts of a request at most', () => {
    const book = new ShadowBook();
    const vectors = Array.from({ length: 500 }, () => Float32Array.of(1));
    book.add({ ...pair, kind: 'embed', ms: 1, againstMs: 1, vectors, againstVectors: vectors });
    expect(book.read()[0]!.cosine!.count).toBe(32);
  });
});

describe('two versions compared', () => {
  /** Unlike directions for 24 texts, which `noise` moves. */
  const vectors = (noise: number, dimension = 64) =>
    comparisonTexts.map((_, text) =>
      Float32Array.from(
        { length: dimension },
        (_, at) => Math.sin((text + 1) * (at + 1) * 1.7) + noise * Math.sin((text + 3) * (at + 2) * 2.3),
      ),
    );
  const of = (version: number, space: string, noise: number, dimension?: number) => ({
    version,
    space,
    vectors: vectors(noise, dimension),
  });

  it('of one space are identical', () => {
    const comparison = compareVersions(of(1, 's', 0), of(2, 's', 0));
    expect(comparison).toMatchObject({ a: 1, b: 2, verdict: 'identical', texts: 24, neighbourOverlap: 1 });
    expect(comparison.why).toContain('space s');
  });

  it('of other spaces that agree are near, with figures', () => {
    const comparison = compareVersions(of(1, 's', 0), of(2, 't', 0.02));
    expect(comparison.verdict).toBe('near');
    expect(comparison.meanCosine).toBeGreaterThan(0.99);
    expect(comparison.minCosine).toBeLessThanOrEqual(comparison.meanCosine);
    expect(comparison.why).toMatch(/over 24 texts the cosine is 0\.99\d+ on average/);
  });

  it('that disagree are incompatible', () => {
    expect(compareVersions(of(1, 's', 0), of(2, 't', 2)).verdict).toBe('incompatible');
  });

  it('with high cosines and other neighbours are incompatible', () => {
    // Nearly one direction for all texts, so that every cosine is high.
    const shifted = (noise: number) => vectors(noise).map((vector) => vector.map((value) => value + 100));
    const a = { version: 1, space: 's', vectors: shifted(0) };
    const comparison = compareVersions(a, { version: 2, space: 't', vectors: shifted(3) });
    expect(comparison.meanCosine).toBeGreaterThan(0.99);
    expect(comparison.verdict).toBe('incompatible');
  });

  it('count half of the others as neighbours where there are few, and never the text itself', () => {
    const at = (...degrees: number[]) =>
      degrees.map((degree) => [Math.cos((degree * Math.PI) / 180), Math.sin((degree * Math.PI) / 180)]);
    const a = { version: 1, space: '', vectors: at(0, 10, 90, 100) };
    const overlapWith = (...degrees: number[]) =>
      compareVersions(a, { version: 2, space: '', vectors: at(...degrees) }).neighbourOverlap;
    expect(overlapWith(0, 90, 10, 100)).toBe(0);
    expect(overlapWith(5, 10, 80, 100)).toBe(1);
  });

  it('of other widths, or without texts, are incompatible', () => {
    const comparison = compareVersions(of(1, 's', 0), of(2, 't', 0, 32));
    expect(comparison).toMatchObject({ verdict: 'incompatible', meanCosine: 0 });
    expect(comparison.why).toContain('64 numbers, version 2 of 32');
    const nothing = compareVersions({ version: 1, space: '', vectors: [] }, of(2, 't', 0));
    expect(nothing).toMatchObject({ verdict: 'incompatible', texts: 0 });
  });

  it('without a known space are not identical by default', () => {
    expect(compareVersions(of(1, '', 0), of(2, '', 0)).verdict).toBe('near');
  });

  it('bring 24 texts that differ', () => expect(new Set(comparisonTexts).size).toBe(24));
});
