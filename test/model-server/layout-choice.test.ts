import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseLayout, type Finding, loneTokensOf } from '../../model-server/models/layout/choose-layout.ts';
import { type Layout, layoutsFor, layoutText } from '../../model-server/models/layout/layout.ts';

const bytesOf = ({ instances, lone }: Layout) => instances + (lone === undefined ? 0 : 1);
const found = (layout: string, rate: number, short: number, long = short): Finding => {
  const [instances = 0, threads = 0] = layout.split('x').map(Number);
  return { layout: { instances, threads }, rate, loneTimes: [short, long] };
};
const base = (layout: string) => found(layout, 1, 1);
const say = ({ instances, threads, lone }: Layout) =>
  `${instances}x${threads}${lone === undefined ? '' : `+${lone}`}`;

describe('the layouts that are tried', () => {
  it.each([
    [1, '1x1'],
    [2, '2x1 1x2'],
    [4, '4x1 1x4 2x2'],
    [6, '6x1 1x6 3x2 2x3'],
    [7, '7x1 1x7'],
  ])('%i cores: %s', (cores, expected) => {
    expect(layoutsFor(cores).map(say).join(' ')).toBe(expected);
  });

  it('use all cores, each in another way', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 256 }), (cores) => {
        const layouts = layoutsFor(cores);
        for (const { instances, threads } of layouts) expect(instances * threads).toBe(cores);
        expect(new Set(layouts.map(({ threads }) => threads)).size).toBe(layouts.length);
      }),
    );
  });

  it('read as one says them', () => {
    expect(layoutText({ instances: 1, threads: 2 })).toBe('1 instance x 2 threads');
    expect(layoutText({ instances: 2, threads: 1, lone: 2 })).toBe(
      '2 instances x 1 thread + 1 x 2 threads for lone requests',
    );
    expect(layoutText({ instances: 2, threads: 1, lone: 2, loneTokens: 30 })).toMatch(
      /for lone requests of 30 tokens or more$/,
    );
  });
});

describe('the choice', () => {
  it.each<[string, Finding[], string]>([
    ['nothing but the first layout', [base('2x1')], '2x1'],
    [
      'narrow ones that are faster under load, a wide one that is alone',
      [base('2x1'), found('1x2', 0.73, 0.67)],
      '2x1+2',
    ],
    ['a wide one that is hardly faster alone', [base('2x1'), found('1x2', 0.73, 0.9)], '2x1'],
    ['a gain that is just worth its memory', [base('2x1'), found('1x2', 0.73, 0.85)], '2x1+2'],
    ['a wide one that does the same work for less memory', [base('2x1'), found('1x2', 0.98, 1.1)], '1x2'],
    ['a wide one that is better at both', [base('2x1'), found('1x2', 1.3, 0.6)], '1x2'],
    ['a wide one that is better under load, and no worse alone', [base('2x1'), found('1x2', 1.3, 1)], '1x2'],
    [
      'a wide one that is slower with short texts, which need not go there',
      [base('2x1'), found('1x2', 0.73, 1.13, 0.67)],
      '2x1+2',
    ],
    ['a wide one that is slower with long texts', [base('2x1'), found('1x2', 0.73, 0.5, 1.01)], '2x1'],
    [
      'several widths for lone requests: the fastest',
      [base('4x1'), found('1x4', 0.5, 0.55), found('2x2', 0.8, 0.5)],
      '4x1+2',
    ],
    [
      'one that is the best alone by far',
      [base('8x1'), found('1x8', 0.3, 0.9), found('4x2', 0.9, 0.7), found('2x4', 0.6, 0.4)],
      '8x1+4',
    ],
    [
      'one in the middle that does the most work, with a wider one beside it',
      [base('4x1'), found('1x4', 0.6, 0.4), found('2x2', 1.2, 0.7)],
      '2x2+4',
    ],
  ])('%s', (_what, findings, expected) => {
    expect(say(chooseLayout(findings, bytesOf))).toBe(expected);
  });

  it('never asks for more cores or memory than there are, and never does much less work than it could', () => {
    const share = fc.double({ min: 0.01, max: 100, noNaN: true });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 64 }), fc.infiniteStream(share), (cores, shares) => {
        const next = () => shares.next().value!;
        const [first, ...others] = layoutsFor(cores);
        const findings = [
          { layout: first!, rate: 1, loneTimes: [1, 1] as const },
          ...others.map((layout) => ({ layout, rate: next(), loneTimes: [next(), next()] as const })),
        ];
        const chosen = chooseLayout(findings, bytesOf);
        expect(chosen.instances * chosen.threads).toBe(cores);
        expect(chosen.lone ?? 1).toBeLessThanOrEqual(cores);
        if (chosen.lone !== undefined) expect(chosen.lone).toBeGreaterThan(chosen.threads);
        expect(bytesOf(chosen)).toBeLessThanOrEqual(bytesOf(first!) + 1);
        const of = (threads: number) => findings.find(({ layout }) => layout.threads === threads)!;
        const best = Math.max(...findings.map(({ rate }) => rate));
        expect(of(chosen.threads).rate).toBeGreaterThanOrEqual(best * 0.97);
        if (chosen.lone !== undefined) {
          const [wide, narrow] = [of(chosen.lone).loneTimes, of(chosen.threads).loneTimes];
          const share = Math.sqrt(Math.min(1, wide[0] / narrow[0]) * (wide[1] / narrow[1]));
          expect(share).toBeLessThanOrEqual(0.85 + 1e-9);
        }
      }),
    );
  });
});

describe('the tokens from which on a lone text goes to the wide instance', () => {
  const lengths = [16, 128] as const;

  it.each([
    ['none, when it is faster with all', [1.6, 9], [1.3, 6], 0],
    ['none, when it is as fast with short ones', [1.6, 9], [1.6, 6], 0],
    ['where both take the same time', [1.6, 9], [1.9, 6], 27],
    ['many, when it gains late', [1, 8], [7, 7], 112],
  ] as const)('are %s', (_what, narrow, wide, expected) => {
    expect(loneTokensOf(narrow, wide, lengths)).toBe(expected);
  });

  it('lie between the two that were timed, and above them the wide one is faster', () => {
    const ms = fc.double({ min: 0.1, max: 100, noNaN: true });
    fc.assert(
      fc.property(fc.tuple(ms, ms), fc.tuple(ms, ms), (narrow, wide) => {
        fc.pre(wide[1] < narrow[1]);
        const tokens = loneTokensOf(narrow, wide, lengths);
        if (wide[0] <= narrow[0]) expect(tokens).toBe(0);
        else {
          expect(tokens).toBeGreaterThanOrEqual(16);
          expect(tokens).toBeLessThanOrEqual(128);
          const at = ([short, long]: readonly [number, number]) =>
            short + ((long - short) * (tokens - 16)) / 112;
          expect(at(wide)).toBeLessThanOrEqual(at(narrow) * (1 + 1e-9) + 1e-9);
        }
      }),
    );
  });
});
