import fc from 'fast-check';
import { expect, test } from 'vitest';
import { growthOf } from '../../loadtest/soak-growth.ts';

const samples = (of: (at: number) => number, count = 100) =>
  Array.from({ length: count }, (_, at) => ({ residentBytes: of(at), heapBytes: 2 * of(at) }));

test('the second fifth is compared with the last, so that warming up is no leak', () => {
  const { 'resident memory': resident, heap } = growthOf(samples((at) => (at < 20 ? at : 100)));
  expect(resident).toEqual({ second: 100, last: 100, ratio: 1 });
  expect(heap.last).toBe(200);
});

test('a leak shows however much the heap goes up and down', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 20 }), { minLength: 100, maxLength: 100 }), (noise) => {
      const steady = growthOf(samples((at) => 1000 + noise[at]!));
      const leaking = growthOf(samples((at) => 1000 + 10 * at + noise[at]!));
      expect(steady['resident memory'].ratio).toBeLessThan(1.05);
      expect(leaking['resident memory'].ratio).toBeGreaterThan(1.3);
      expect(leaking.heap.ratio).toBeGreaterThan(1.3);
    }),
  );
});

test('one peak is no leak', () => {
  expect(growthOf(samples((at) => (at === 95 ? 9000 : 100))).heap.ratio).toBe(1);
});

test('too few samples are refused', () => {
  expect(() => growthOf(samples(() => 1, 14))).toThrow('14 samples of memory are too few');
  expect(growthOf(samples(() => 1, 15)).heap.ratio).toBe(1);
});
