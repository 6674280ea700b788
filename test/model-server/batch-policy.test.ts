import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BatchLimits, chooseBatch } from '../../model-server/scheduler/batch-policy.ts';

const limits: BatchLimits = { maxItems: 4, maxTokens: 100, maxPaddingShare: 0.1 };

describe('chooseBatch', () => {
  const table: [string, number[], Partial<BatchLimits>, number, number[]][] = [
    ['a lone input runs alone', [7], {}, 1, [0]],
    ['equals go together', [10, 10, 10], {}, 1, [0, 1, 2]],
    ['no more rows than the limit', [5, 5, 5, 5, 5, 5], {}, 1, [0, 1, 2, 3]],
    ['no more padded tokens than the limit', [40, 40, 40], {}, 1, [0, 1]],
    ['a single input may exceed the token limit', [500, 5], {}, 1, [0]],
    ['a long one behind the oldest does not pad it', [10, 90, 10], {}, 1, [0, 2]],
    ['a short one does not ride with a long oldest', [90, 10, 10, 90], { maxTokens: 1000 }, 1, [0, 3]],
    ['small differences are padded', [10, 11, 10], {}, 1, [0, 1, 2]],
    [
      'padding thins out as equals join',
      [10, 13, 13, 13, 13, 13],
      { maxItems: 8, maxTokens: 1000 },
      1,
      [0, 1, 2, 3, 4, 5],
    ],
    ['two free instances share the work', [5, 5, 5, 5], {}, 2, [0, 1]],
    ['more instances than inputs give batches of one', [5, 5], {}, 3, [0]],
    ['no padding allowed means equals only', [10, 11, 10], { maxPaddingShare: 0 }, 1, [0, 2]],
  ];
  it.each(table)('%s', (_, lengths, override, free, expected) => {
    expect(chooseBatch(lengths, { ...limits, ...override }, free)).toEqual(expected);
  });

  it('always holds the oldest, keeps every limit, and names each input once', () => {
    const lengthsArbitrary = fc.array(fc.integer({ min: 1, max: 256 }), { minLength: 1, maxLength: 80 });
    const limitsArbitrary = fc.record({
      maxItems: fc.integer({ min: 1, max: 40 }),
      maxTokens: fc.integer({ min: 1, max: 4000 }),
      maxPaddingShare: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(
        lengthsArbitrary,
        limitsArbitrary,
        fc.integer({ min: 1, max: 4 }),
        (lengths, given, free) => {
          const chosen = chooseBatch(lengths, given, free);
          expect(chosen[0]).toBe(0);
          expect(new Set(chosen).size).toBe(chosen.length);
          if (chosen.length === 1) return;
          const picked = chosen.map((index) => lengths[index]!);
          const padded = picked.length * Math.max(...picked);
          const real = picked.reduce((sum, next) => sum + next, 0);
          expect(chosen.length).toBeLessThanOrEqual(
            Math.min(given.maxItems, Math.ceil(lengths.length / free)),
          );
          expect(padded).toBeLessThanOrEqual(given.maxTokens);
          expect((padded - real) / padded).toBeLessThanOrEqual(given.maxPaddingShare + 1e-9);
        },
      ),
    );
  });

  it('finds the most rows that a run of neighbours in length can have', () => {
    const small = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 2, maxLength: 9 });
    fc.assert(
      fc.property(small, (lengths) => {
        const given = { maxItems: 6, maxTokens: 40, maxPaddingShare: 0.2 };
        expect(chooseBatch(lengths, given, 1).length).toBe(bruteForce(lengths, given));
      }),
    );
  });
});

/** Every run of the sorted inputs that holds the oldest, tried one by one. */
function bruteForce(lengths: number[], { maxItems, maxTokens, maxPaddingShare }: BatchLimits): number {
  const order = lengths.map((_, index) => index).sort((a, b) => lengths[a]! - lengths[b]! || a - b);
  let best = 1;
  for (let from = 0; from < order.length; from++) {
    for (let to = from + 1; to <= order.length; to++) {
      const run = order.slice(from, to);
      if (!run.includes(0) || run.length > maxItems) continue;
      const padded = run.length * lengths[run.at(-1)!]!;
      const real = run.reduce((sum, index) => sum + lengths[index]!, 0);
      if (padded <= maxTokens && padded - real <= maxPaddingShare * padded) best = Math.max(best, run.length);
    }
  }
  return best;
}
