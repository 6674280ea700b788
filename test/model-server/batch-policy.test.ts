import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BatchLimits, chooseBatch } from '../../model-server/scheduler/batch-policy.ts';
import type { BatchShape } from '../../model-server/scheduler/cost-model.ts';

const limits = { maxItems: 4, maxTokens: 100, overheadTokens: 4 };
type Given = BatchLimits & { overheadTokens: number };

/** With a batch that costs so much by itself, and the same for each padded token. */
function choose(lengths: readonly number[], { overheadTokens, ...given }: Given, freeInstances: number) {
  const costUs = ({ rows, length }: BatchShape) => overheadTokens + rows * length;
  return chooseBatch(lengths, { limits: given, costUs, freeInstances });
}

/** Tokens that a choice finishes for its cost. */
function tokensPerCost(
  lengths: readonly number[],
  chosen: readonly number[],
  overheadTokens: number,
): number {
  const picked = chosen.map((index) => lengths[index]!);
  const real = picked.reduce((sum, next) => sum + next, 0);
  return real / (overheadTokens + picked.length * Math.max(...picked));
}

describe('chooseBatch', () => {
  const table: [string, number[], Partial<Given>, number, number[]][] = [
    ['a lone input runs alone', [7], {}, 1, [0]],
    ['equals go together', [10, 10, 10], {}, 1, [0, 1, 2]],
    ['no more rows than the limit', [5, 5, 5, 5, 5, 5], {}, 1, [0, 1, 2, 3]],
    ['no more padded tokens than the limit', [40, 40, 40], {}, 1, [0, 1]],
    ['a single input may exceed the token limit', [500, 5], {}, 1, [0]],
    ['a long one behind the oldest does not pad it', [10, 90, 10], {}, 1, [0, 2]],
    ['a short one does not ride with a long oldest', [90, 10, 10, 90], { maxTokens: 1000 }, 1, [0, 3]],
    ['a little padding is cheaper than another batch', [10, 11, 10], {}, 1, [0, 1, 2]],
    ['and dearer where a batch costs nothing by itself', [10, 11, 10], { overheadTokens: 0 }, 1, [0, 2]],
    ['two free instances share the work', [5, 5, 5, 5], {}, 2, [0, 1]],
    ['more instances than inputs give batches of one', [5, 5], {}, 3, [0]],
  ];
  it.each(table)('%s', (_, lengths, override, free, expected) => {
    expect(choose(lengths, { ...limits, ...override }, free)).toEqual(expected);
  });

  it('follows what batches cost here: wide for short texts, alone past the length where width buys nothing', () => {
    // Measured on two cores with int8 MiniLM: padding costs more than a batch saves once texts are long.
    const costUs = ({ rows, length }: BatchShape) => 900 + rows * length * (60 + length / 4);
    const wide = { limits: { maxItems: 32, maxTokens: 4096 }, costUs, freeInstances: 1 };
    const short = Array.from({ length: 32 }, () => 8);
    expect(chooseBatch(short, wide)).toHaveLength(32);
    expect(chooseBatch([256, 120, 180, 300], wide)).toEqual([0]);
    expect(chooseBatch([256, 120, 256, 300], wide)).toEqual([0, 2]);
  });

  it('takes any mix where padding costs nothing', () => {
    const costUs = ({ tokens }: BatchShape) => 400 + tokens * 60;
    const packed = { limits: { maxItems: 32, maxTokens: 4096 }, costUs, freeInstances: 1 };
    expect(chooseBatch([20, 5, 13, 7], packed)).toEqual([0, 1, 2, 3]);
  });

  it('keeps a batch within the time that it may take, but lets a single input run', () => {
    const costUs = ({ tokens }: BatchShape) => 100 + tokens * 10;
    const rules = { limits: { maxItems: 32, maxTokens: 4096 }, costUs, maxUs: 350, freeInstances: 1 };
    expect(chooseBatch([10, 10, 10, 10], rules)).toEqual([0, 1]);
    expect(chooseBatch([100, 10], rules)).toEqual([0]);
  });

  const limitsArbitrary = fc.record({
    maxItems: fc.integer({ min: 1, max: 40 }),
    maxTokens: fc.integer({ min: 1, max: 4000 }),
    overheadTokens: fc.integer({ min: 0, max: 50 }),
  });

  it('always holds the oldest, keeps every limit, and names each input once', () => {
    const lengthsArbitrary = fc.array(fc.integer({ min: 1, max: 256 }), { minLength: 1, maxLength: 80 });
    fc.assert(
      fc.property(
        lengthsArbitrary,
        limitsArbitrary,
        fc.integer({ min: 1, max: 4 }),
        (lengths, given, free) => {
          const chosen = choose(lengths, given, free);
          expect(chosen[0]).toBe(0);
          expect(new Set(chosen).size).toBe(chosen.length);
          if (chosen.length === 1) return;
          const longest = Math.max(...chosen.map((index) => lengths[index]!));
          expect(chosen.length).toBeLessThanOrEqual(
            Math.min(given.maxItems, Math.ceil(lengths.length / free)),
          );
          expect(chosen.length * longest).toBeLessThanOrEqual(given.maxTokens);
        },
      ),
    );
  });

  it('finishes as many tokens for its cost as any run of neighbours in length', () => {
    const small = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 2, maxLength: 9 });
    fc.assert(
      fc.property(small, limitsArbitrary, (lengths, given) => {
        const chosen = choose(lengths, given, 1);
        const best = Math.max(
          ...runs(lengths, given).map((run) => tokensPerCost(lengths, run, given.overheadTokens)),
        );
        expect(tokensPerCost(lengths, chosen, given.overheadTokens)).toBeCloseTo(best, 12);
      }),
    );
  });
});

/** Every allowed run of the sorted inputs that holds the oldest, tried one by one; alone is always allowed. */
function runs(lengths: number[], { maxItems, maxTokens }: BatchLimits): number[][] {
  const order = lengths.map((_, index) => index).sort((a, b) => lengths[a]! - lengths[b]! || a - b);
  const found = [[0]];
  for (let from = 0; from < order.length; from++) {
    for (let to = from + 1; to <= order.length; to++) {
      const run = order.slice(from, to);
      const padded = run.length * lengths[run.at(-1)!]!;
      if (run.includes(0) && run.length <= maxItems && padded <= maxTokens) found.push(run);
    }
  }
  return found;
}
