import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { choose } from '../../cli/tune/choose.ts';
import { nextConcurrency, type Rung } from '../../cli/tune/ladder.ts';
import { layouts } from '../../cli/tune/layouts.ts';
import { neighbours } from '../../cli/tune/neighbours.ts';
import { type Candidate, type Measured, nameOf, type Point } from '../../cli/tune/point.ts';
import { type SearchOptions, search } from '../../cli/tune/search.ts';

/** A machine on paper: what each candidate can do, and how long everything takes. */
interface Paper {
  capacity: (candidate: Candidate) => number;
  startMs?: number;
  /** Called before each measurement, with its number from 1. */
  before?: (measurement: number) => void;
}

const ALONE_MS = 4;

/** Runs a search on paper; time passes only by starts and measurements. */
async function onPaper(
  { capacity, startMs = 1000, before }: Paper,
  options: Partial<SearchOptions> & Pick<SearchOptions, 'cores' | 'targetP99Ms'>,
) {
  let nowMs = 0;
  let [open, most, measurements] = [0, 0, 0];
  const opened: Candidate[] = [];
  const result = await search({
    budgetMs: 3_600_000,
    batchTokens: 512,
    signal: new AbortController().signal,
    nowMs: () => nowMs,
    bench: {
      async open(candidate) {
        nowMs += startMs;
        opened.push(candidate);
        most = Math.max(most, ++open);
        return {
          async measure({ concurrency, durationMs }) {
            before?.(++measurements);
            nowMs += durationMs;
            return paperFigures(capacity(candidate), concurrency);
          },
          async close() {
            open--;
          },
        };
      },
    },
    ...options,
  });
  return { ...result, opened, stillOpen: open, mostOpen: most, tookMs: nowMs };
}

/** By Little's law: in flight = throughput x latency. */
function paperFigures(capacity: number, concurrency: number): Measured {
  const textsPerSecond = Math.min(capacity, (1000 * concurrency) / ALONE_MS);
  const p50Ms = (1000 * concurrency) / textsPerSecond;
  return { textsPerSecond, p50Ms, p99Ms: 1.5 * p50Ms, requests: 1000, clientCores: 0.1 };
}

describe('the coarse layouts', () => {
  test.each([
    [1, ['1x1']],
    [2, ['2x1', '1x1', '1x2']],
    [4, ['4x1', '3x1', '2x2', '1x4']],
    [6, ['6x1', '5x1', '3x2', '1x4', '1x6']],
  ])('of %i cores', (cores, expected) => {
    expect(layouts(cores).map(({ instances, threads }) => `${instances}x${threads}`)).toEqual(expected);
  });

  test('never take more threads than there are cores, and none twice', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 256 }), (cores) => {
        const all = layouts(cores);
        for (const { instances, threads } of all) {
          expect(instances).toBeGreaterThan(0);
          expect(instances * threads).toBeLessThanOrEqual(cores);
        }
        expect(new Set(all.map((layout) => JSON.stringify(layout))).size).toBe(all.length);
      }),
    );
  });
});

test('neighbours differ in one value, fit the cores, and wait no longer than a quarter of the target', () => {
  const candidate = fc.record({
    instances: fc.integer({ min: 1, max: 8 }),
    threads: fc.integer({ min: 1, max: 8 }),
    batchTokens: fc.constantFrom(64, 512, 8192),
    queueDelayUs: fc.constantFrom(0, 500, 8000),
  });
  fc.assert(
    fc.property(candidate, fc.double({ min: 1, max: 200, noNaN: true }), (of, targetP99Ms) => {
      const cores = of.instances * of.threads + 1;
      for (const one of neighbours(of, { cores, targetP99Ms })) {
        const changed = (Object.keys(of) as (keyof Candidate)[]).filter((key) => one[key] !== of[key]);
        expect(changed).toHaveLength(1);
        expect(one.instances * one.threads).toBeLessThanOrEqual(cores);
        expect(one.queueDelayUs).toBeLessThanOrEqual(targetP99Ms * 250);
      }
    }),
  );
});

describe('the next concurrency', () => {
  const rung = (concurrency: number, textsPerSecond: number, p99Ms: number): Rung => {
    return { concurrency, textsPerSecond, p99Ms, p50Ms: p99Ms, requests: 100, clientCores: 0 };
  };
  test.each<[string, Rung[], number | undefined]>([
    ['begins where it is told', [], 2],
    ['doubles', [rung(2, 100, 10)], 4],
    ['goes half way back once the target breaks', [rung(4, 100, 10), rung(8, 200, 60)], 6],
    ['ends after that', [rung(4, 100, 10), rung(8, 200, 60), rung(6, 150, 20)], undefined],
    [
      'ends after that also when it breaks',
      [rung(4, 100, 10), rung(8, 200, 60), rung(6, 150, 70)],
      undefined,
    ],
    ['goes down when the first breaks', [rung(2, 100, 60)], 1],
    ['ends when one at a time breaks', [rung(1, 100, 60)], undefined],
    ['ends when two steps bring nothing', [rung(2, 100, 10), rung(4, 101, 20), rung(8, 102, 40)], undefined],
    ['goes on after one such step', [rung(2, 100, 10), rung(4, 101, 20), rung(8, 150, 40)], 16],
    ['ends at 256', [rung(256, 1000, 10)], undefined],
  ])('%s', (_what, rungs, expected) => {
    expect(nextConcurrency(rungs, { first: 2, targetP99Ms: 50 })).toBe(expected);
  });
});

describe('the choice', () => {
  const candidate = { instances: 1, threads: 1, batchTokens: 512, queueDelayUs: 0 };
  const point = (textsPerSecond: number, p99Ms: number): Point => {
    return {
      candidate,
      concurrency: 1,
      confirmed: false,
      requests: 1,
      clientCores: 0,
      p50Ms: 1,
      textsPerSecond,
      p99Ms,
    };
  };
  test('is the highest throughput within the target', () => {
    const points = [point(100, 10), point(300, 51), point(200, 50), point(200, 40)];
    expect(choose(points, 50)).toEqual({ point: points[3], met: true });
  });

  test('is the lowest p99 when nothing is within it', () => {
    const points = [point(100, 60), point(300, 70), point(200, 60)];
    expect(choose(points, 50)).toEqual({ point: points[0], met: false });
  });

  test('is none without points', () => expect(choose([], 50)).toBeUndefined());

  test('nothing else within the target is faster', () => {
    const any = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }));
    fc.assert(
      fc.property(fc.array(any, { minLength: 1 }), fc.integer({ min: 0, max: 10 }), (pairs, target) => {
        const points = pairs.map(([rate, p99]) => point(rate, p99));
        const { point: chosen, met } = choose(points, target)!;
        expect(met).toBe(points.some(({ p99Ms }) => p99Ms <= target));
        for (const { textsPerSecond, p99Ms } of points) {
          if (met && p99Ms <= target) expect(textsPerSecond).toBeLessThanOrEqual(chosen.textsPerSecond);
          if (!met) expect(p99Ms).toBeGreaterThanOrEqual(chosen.p99Ms);
        }
      }),
    );
  });
});

describe('the search', () => {
  test('finds the planted best of 4 cores, and confirms it on a fresh server', async () => {
    const best = { instances: 2, threads: 2, batchTokens: 2048, queueDelayUs: 1000 };
    // Falls with each step away from the best, in any direction.
    const capacity = (one: Candidate) =>
      2000 -
      300 * Math.abs(one.instances * 2 - one.threads - 2) -
      100 * Math.abs(Math.log2(one.batchTokens / best.batchTokens)) -
      Math.abs(one.queueDelayUs - best.queueDelayUs) / 20;
    const found = await onPaper({ capacity }, { cores: 4, targetP99Ms: 50 });
    const { point, met } = choose(found.points, 50)!;
    expect([point.candidate, point.confirmed, met]).toEqual([best, true, true]);
    expect(found.opened.filter((one) => nameOf(one) === nameOf(best))).toHaveLength(2);
    expect(found.ended).toBe('complete');
  });

  test('one bad moment does not end the way up', async () => {
    let isBad = false;
    const before = (measurement: number) => {
      isBad = measurement === 2;
    };
    const found = await onPaper(
      { capacity: () => (isBad ? 10 : 1000), before },
      { cores: 1, targetP99Ms: 50 },
    );
    expect(found.points.slice(0, 3)).toMatchObject([
      { concurrency: 1, p99Ms: 6 },
      { concurrency: 2, p99Ms: 6 },
      { concurrency: 4, p99Ms: 6 },
    ]);
  });

  test('a point that does not hold a second time gives way to the next', async () => {
    let lucky = true;
    const capacity = (candidate: Candidate) => {
      if (nameOf(candidate) === '2 x 1 threads, 512 tokens, 0 us') return lucky ? 1000 : 100;
      return candidate.instances === 1 && candidate.threads === 1 ? 800 : 700;
    };
    const onStep = (doing: string) => {
      if (doing.startsWith('confirming')) lucky = false;
    };
    const found = await onPaper({ capacity }, { cores: 2, targetP99Ms: 50, onStep });
    const { point } = choose(found.points, 50)!;
    expect(point).toMatchObject({ confirmed: true, candidate: { instances: 1, threads: 1 } });
  });

  test('keeps within cores and budget, runs one server at a time, and closes each', async () => {
    const speed = fc.func(fc.integer({ min: 1, max: 5000 }));
    await fc.assert(
      fc.asyncProperty(
        speed,
        fc.integer({ min: 1, max: 32 }),
        fc.integer({ min: 1000, max: 400_000 }),
        fc.integer({ min: 0, max: 5000 }),
        async (rate, cores, budgetMs, startMs) => {
          const capacity = (candidate: Candidate) => rate(nameOf(candidate));
          const found = await onPaper({ capacity, startMs }, { cores, targetP99Ms: 40, budgetMs });
          for (const { instances, threads } of found.opened)
            expect(instances * threads).toBeLessThanOrEqual(cores);
          expect(found.mostOpen).toBeLessThanOrEqual(1);
          expect(found.stillOpen).toBe(0);
          // Only the first start is of unknown length.
          expect(found.tookMs).toBeLessThanOrEqual(Math.max(budgetMs, startMs));
          const names = found.points.map(
            ({ candidate, concurrency }) => `${nameOf(candidate)} ${concurrency}`,
          );
          expect(new Set(names).size).toBe(names.length);
        },
      ),
    );
  });

  test('a server that takes longer to start than the whole budget is given up, and nothing was measured', async () => {
    const reasons: unknown[] = [];
    const bench = {
      open: (_: Candidate, signal: AbortSignal) =>
        new Promise<never>((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason.name);
            reject(signal.reason);
          });
        }),
    };
    let nowMs = 0;
    const signal = new AbortController().signal;
    const options = { cores: 1, targetP99Ms: 50, batchTokens: 512, budgetMs: 401, signal };
    const searching = search({ ...options, bench, nowMs: () => nowMs });
    nowMs = 402;
    expect(await searching).toMatchObject({ points: [], failures: [], ended: 'budget' });
    expect(reasons).toEqual(['TimeoutError']);
  });

  test('a candidate that fails is noted, and the others are measured', async () => {
    const capacity = ({ instances }: Candidate) => {
      if (instances === 2) throw new Error('no memory');
      return 500;
    };
    const found = await onPaper({ capacity }, { cores: 2, targetP99Ms: 50 });
    expect(found.failures[0]).toEqual({
      candidate: { instances: 2, threads: 1, batchTokens: 512, queueDelayUs: 0 },
      why: 'no memory',
    });
    expect(choose(found.points, 50)?.point.candidate.instances).toBe(1);
    expect([found.stillOpen, found.ended]).toEqual([0, 'complete']);
  });

  test('an interruption keeps what was measured, closes the server and starts no other', async () => {
    const stopping = new AbortController();
    const before = (measurement: number) => {
      if (measurement < 3) return;
      stopping.abort(new Error('interrupted'));
      throw stopping.signal.reason;
    };
    const options = { cores: 2, targetP99Ms: 50, signal: stopping.signal };
    const found = await onPaper({ capacity: () => 900, before }, options);
    expect(found.points).toHaveLength(2);
    expect([found.ended, found.stillOpen, found.opened.length, found.failures]).toEqual([
      'interrupted',
      0,
      1,
      [],
    ]);
  });
});
