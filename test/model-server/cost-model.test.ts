import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseBatch } from '../../model-server/scheduler/batch-policy.ts';
import { type BatchShape, CostModel } from '../../model-server/scheduler/cost-model.ts';

const shapeArbitrary = fc
  .array(fc.integer({ min: 2, max: 256 }), { minLength: 1, maxLength: 32 })
  .map((lengths): BatchShape => shapeOf(lengths));

function shapeOf(lengths: number[]): BatchShape {
  return {
    rows: lengths.length,
    tokens: lengths.reduce((sum, next) => sum + next, 0),
    length: Math.max(...lengths),
  };
}

/** Shapes as a server sees them: many rows of short texts, few of long ones. */
const shapes = [1, 2, 4, 8, 16, 32].flatMap((rows) =>
  [4, 8, 16, 32, 64, 128].map((length) => ({ rows, length, tokens: Math.ceil(rows * length * 0.8) })),
);

describe.each([true, false])('the cost model (packed: %s)', (packed) => {
  const truth = ({ rows, length, tokens }: BatchShape) =>
    400 +
    60 * (packed ? tokens : rows * length) +
    rows * length * (packed ? 2 + length * 0.05 : length * 0.05);

  it('learns what batches of any shape take, from some of them', () => {
    const costs = new CostModel({ packed, overheadTokens: 8 });
    expect(costs.isKnown).toBe(false);
    for (const [index, shape] of shapes.entries()) if (index % 3 !== 0) costs.learn(shape, truth(shape));
    expect(costs.isKnown).toBe(true);
    for (const shape of shapes) {
      expect(costs.predictUs(shape) / truth(shape), JSON.stringify(shape)).toBeGreaterThan(0.9);
      expect(costs.predictUs(shape) / truth(shape), JSON.stringify(shape)).toBeLessThan(1.1);
    }
  });

  it('follows the machine when it becomes slower, and keeps what was measured of shapes that no longer come', () => {
    const costs = new CostModel({ packed, overheadTokens: 8 });
    for (const shape of shapes) costs.learn(shape, truth(shape));
    const short = { rows: 8, length: 12, tokens: 80 };
    const long = { rows: 1, length: 512, tokens: 512 };
    const before = costs.predictUs(long);
    for (let i = 0; i < 500; i++) costs.learn(short, truth(short) * 1.5);
    expect(costs.predictUs(short) / (truth(short) * 1.5)).toBeCloseTo(1, 1);
    expect(costs.predictUs(long)).toBeGreaterThan(before * 0.7);
  });

  it('is not thrown off by a batch that was held up', () => {
    const costs = new CostModel({ packed, overheadTokens: 8 });
    for (const shape of shapes) costs.learn(shape, truth(shape));
    const short = { rows: 8, length: 12, tokens: 80 };
    costs.learn(short, truth(short) * 1000);
    expect(costs.predictUs(short) / truth(short)).toBeLessThan(1.2);
  });

  it('never predicts less for more work, whatever it has been told', () => {
    const told = fc.array(fc.tuple(shapeArbitrary, fc.integer({ min: 1, max: 1_000_000 })), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(told, shapeArbitrary, (batches, shape) => {
        const costs = new CostModel({ packed, overheadTokens: 8 });
        for (const [batch, us] of batches) costs.learn(batch, us);
        const us = costs.predictUs(shape);
        expect(Number.isFinite(us)).toBe(true);
        expect(us).toBeGreaterThanOrEqual(0);
        const more = { rows: shape.rows + 1, length: shape.length, tokens: shape.tokens + shape.length };
        expect(costs.predictUs(more)).toBeGreaterThanOrEqual(us);
        expect(costs.usPerToken).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});

describe('the cost model', () => {
  it('does not shy at padding that it has never seen, where only attention pads', () => {
    const costs = new CostModel({ packed: true, overheadTokens: 8 });
    // A warm-up knows equal lengths only, so that tokens and cells can't be told apart.
    for (const length of [8, 16, 32, 64])
      for (const rows of [1, 8])
        costs.learn({ rows, length, tokens: rows * length }, 200 + 60 * rows * length);
    const waiting = [5, 20, 9, 14, 17, 6, 11, 8, 19, 12];
    const rules = { limits: { maxItems: 32, maxTokens: 512 }, freeInstances: 1 };
    const chosen = chooseBatch(waiting, { ...rules, costUs: (shape) => costs.predictUs(shape) });
    expect(chosen.length).toBeGreaterThan(5);
  });

  it('tells how fast a queue moves from how long batches kept their instance', () => {
    const costs = new CostModel({ packed: true, overheadTokens: 8 });
    for (let i = 0; i < 50; i++) costs.learn({ rows: 4, length: 25, tokens: 100 }, 5000, 6000);
    expect(costs.usPerToken).toBeCloseTo(60, 5);
  });

  it('keeps the latest batches with what was predicted for them', () => {
    const costs = new CostModel({ packed: true, overheadTokens: 8 });
    const shape = { rows: 1, length: 10, tokens: 10 };
    const predictedUs = costs.predictUs(shape);
    costs.learn(shape, 777);
    expect(costs.samples).toEqual([{ ...shape, predictedUs, measuredUs: 777 }]);
    for (let i = 0; i < 600; i++) costs.learn(shape, 777);
    expect(costs.samples).toHaveLength(512);
  });
});
