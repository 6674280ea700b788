import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseLayout, type Finding } from '../../model-server/models/layout/choose-layout.ts';
import { type Layout, layoutsFor, layoutText } from '../../model-server/models/layout/layout.ts';

const bytesOf = ({ instances, lone }: Layout) => instances + (lone === undefined ? 0 : 1);
const found = (layout: string, rate: number, loneTime: number): Finding => {
  const [instances = 0, threads = 0] = layout.split('x').map(Number);
  return { layout: { instances, threads }, rate, loneTime };
};
const base = (layout: string) => found(layout, 1, 1);
const short = ({ instances, threads, lone }: Layout) =>
  `${instances}x${threads}${lone === undefined ? '' : `+${lone}`}`;

describe('the layouts that are tried', () => {
  it.each([
    [1, '1x1'],
    [2, '2x1 1x2'],
    [4, '4x1 1x4 2x2'],
    [6, '6x1 1x6 3x2 2x3'],
    [7, '7x1 1x7'],
  ])('%i cores: %s', (cores, expected) => {
    expect(layoutsFor(cores).map(short).join(' ')).toBe(expected);
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
    expect(short(chooseLayout(findings, bytesOf))).toBe(expected);
  });

  it('never asks for more cores or memory than there are, and never does much less work than it could', () => {
    const share = fc.double({ min: 0.01, max: 100, noNaN: true });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 64 }), fc.infiniteStream(share), (cores, shares) => {
        const next = () => shares.next().value!;
        const [first, ...others] = layoutsFor(cores);
        const findings = [
          { layout: first!, rate: 1, loneTime: 1 },
          ...others.map((layout) => ({ layout, rate: next(), loneTime: next() })),
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
          expect(of(chosen.lone).loneTime).toBeLessThanOrEqual(of(chosen.threads).loneTime * 0.85);
        }
      }),
    );
  });
});
