import { describe, expect, it } from 'vitest';
import { canaryBatch, canaryFault } from '../../model-server/executor/canary.ts';
import type { Batch, BatchResult, RawTensor } from '../../model-server/types.ts';
import { batch } from './pool-setup.ts';
import { fp32, int64 } from './raw-tensors.ts';

const result = (outputs: number[][], tensors: RawTensor[] = []): BatchResult => ({
  outputs: outputs.map((row) => Float32Array.from(row)),
  tensors,
  computeUs: 0,
  postUs: 0,
});

describe('a canary of texts', () => {
  const table: [string, number[][], RegExp | undefined][] = [
    ['the same values', [[1, -2]], undefined],
    ['values of another kernel', [[1.001, -1.99]], undefined],
    ['other values', [[1, -1]], /row 0 is off by 1\.00, with values up to 2\.00/],
    ['not a number', [[1, Number.NaN]], /not finite/],
    ['infinity', [[1, Number.POSITIVE_INFINITY]], /not finite/],
    ['fewer values', [[1]], /1 values instead of 2/],
    ['an empty row', [[]], /row 0 is empty/],
    ['no row', [], /0 rows instead of 1/],
  ];
  it.each(table)('%s', (_, outputs, fault) => {
    const found = canaryFault({ batch: batch(5), expected: result([[1, -2]]) }, result(outputs));
    if (fault === undefined) expect(found).toBeUndefined();
    else expect(found).toMatch(fault);
  });
});

describe('a canary of raw tensors', () => {
  const tensors: Batch = { kind: 'tensors', rows: 1, inputs: [fp32('x', [1], [0])], outputs: ['y'] };
  const fault = (given: RawTensor[], expected?: RawTensor[]) =>
    canaryFault({ batch: tensors, expected: expected && result([], expected) }, result([], given));

  it('looks at number, shape and finiteness of the outputs', () => {
    const sound = fp32('y', [2], [1, 2]);
    expect(fault([sound])).toBeUndefined();
    expect(fault([fp32('y', [2], [9, 9])], [sound])).toBeUndefined();
    expect(fault([int64('y', [1], [5])])).toBeUndefined();
    expect(fault([])).toMatch(/0 outputs instead of 1/);
    expect(fault([fp32('y', [1], [1])], [sound])).toMatch(/shape \[1\] instead of \[2\]/);
    expect(fault([fp32('y', [2], [1, Number.NaN])], [sound])).toMatch(/not finite/);
  });

  it('what was no number from the start proves nothing', () => {
    const log = fp32('y', [1], [Number.NEGATIVE_INFINITY]);
    expect(fault([log], [log])).toBeUndefined();
    expect(fault([log])).toMatch(/not finite/);
  });

  it('can be handed over again and again', () => {
    const canary = { batch: batch(5) };
    const first = canaryBatch(canary);
    structuredClone(first, { transfer: first.kind === 'tokens' ? [first.tokens] : [] });
    expect(canaryBatch(canary)).toEqual(canary.batch);
  });
});
