import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Candidate, chooseVictims } from '../../model-server/models/memory/choose-victims.ts';

interface Named extends Candidate {
  name: string;
}

const named = (name: string, bytes: number, idleMs: number): Named => ({ name, bytes, idleMs });
const names = (victims: readonly Named[] | undefined) => victims?.map(({ name }) => name);

describe('whom to evict', () => {
  it.each<[string, Named[], number, string[] | undefined]>([
    ['nobody, when nothing is needed', [named('a', 10, 10)], 0, []],
    ['nobody, when there is room to spare', [named('a', 10, 10)], -5, []],
    ['the idlest of equals in size', [named('a', 10, 1), named('b', 10, 9), named('c', 10, 5)], 10, ['b']],
    ['the largest of equals in age', [named('a', 5, 7), named('b', 20, 7), named('c', 10, 7)], 5, ['b']],
    ['large and young before small and old', [named('small', 1, 50), named('large', 100, 1)], 1, ['large']],
    [
      'small and old before large and young',
      [named('small', 10, 100), named('large', 100, 5)],
      10,
      ['small'],
    ],
    ['as many as it takes', [named('a', 4, 9), named('b', 4, 8), named('c', 4, 7)], 8, ['a', 'b']],
    [
      'not the small one too, when the large one that had to follow is enough',
      [named('small', 4, 100), named('large', 20, 10)],
      15,
      ['large'],
    ],
    ['the largest, when all were used just now', [named('a', 4, 0), named('b', 9, 0)], 3, ['b']],
    ['no one at all, when all together are not enough', [named('a', 4, 9), named('b', 4, 8)], 9, undefined],
    ['nobody of nobody', [], 1, undefined],
  ])('%s', (_what, candidates, needed, expected) => {
    expect(names(chooseVictims(candidates, needed))).toEqual(expected);
  });

  it('frees enough, spares whoever is not needed, and leaves its input alone', () => {
    const candidate = fc.record({ bytes: fc.integer({ min: 1, max: 99 }), idleMs: fc.nat({ max: 99 }) });
    fc.assert(
      fc.property(
        fc.array(candidate, { maxLength: 12 }),
        fc.integer({ min: -5, max: 600 }),
        (all, needed) => {
          const before = structuredClone(all);
          const chosen = chooseVictims(all, needed);
          expect(all).toEqual(before);
          const sum = (list: readonly Candidate[]) => list.reduce((bytes, one) => bytes + one.bytes, 0);
          if (chosen === undefined) {
            expect(sum(all)).toBeLessThan(needed);
            return;
          }
          expect(new Set(chosen).size).toBe(chosen.length);
          expect(chosen.every((one) => all.includes(one))).toBe(true);
          expect(sum(chosen)).toBeGreaterThanOrEqual(Math.max(0, needed));
          for (const one of chosen) expect(sum(chosen) - one.bytes).toBeLessThan(needed);
        },
      ),
    );
  });
});
