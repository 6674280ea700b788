import { describe, expect, it } from 'vitest';
import { arenaBytes, predictBytes } from '../../model-server/models/memory/predict.ts';

const MIB = 1024 * 1024;
const model = {
  weightBytes: 80 * MIB,
  weightBytesByType: { FP32: 80 * MIB },
  fileBytes: 81 * MIB,
  instances: 1,
  arena: 5 * MIB,
  isolation: 'thread',
} as const;

describe('the prediction of memory', () => {
  it.each([
    ['one instance: the file, the arena and the thread', {}, 99],
    ['every instance has its own copy', { instances: 3 }, 297],
    ['a process of its own has Node and the runtime once more', { isolation: 'process' as const }, 204],
    ['half precision is widened on the CPU', { weightBytesByType: { FP16: 60 * MIB, FP32: 20 * MIB } }, 159],
    ['bfloat16 as well', { weightBytesByType: { BF16: 80 * MIB } }, 179],
    [
      'but not on a GPU, where no thread counts either',
      { device: 'gpu:0', weightBytesByType: { FP16: 80 * MIB } },
      86,
    ],
    ['the file alone, where the weights are not known', { weightBytes: 0, weightBytesByType: {} }, 99],
    ['the weights, where they lie outside of the file', { weightBytes: 200 * MIB, fileBytes: MIB }, 218],
  ])('%s', (_what, change, expectedMib) => {
    expect(predictBytes({ ...model, ...change }) / MIB).toBe(expectedMib);
  });

  it.each([
    // MiB that fresh sessions of all-MiniLM-L6-v2 grew by, see predict.ts.
    [{ maxBatchTokens: 512, maxTokens: 16 }, 17, 24],
    [{ maxBatchTokens: 512, maxTokens: 128 }, 24, 27],
    [{ maxBatchTokens: 512, maxTokens: 512 }, 57, 60],
    [{ maxBatchTokens: 4096, maxTokens: 128 }, 178, 216],
    [{ maxBatchTokens: 4096, maxTokens: 512 }, 453, 460],
  ])('the arena of %o is near what was measured', (shape, least, most) => {
    const mib = arenaBytes({ ...shape, width: 384, heads: 12 }) / MIB;
    expect(mib).toBeGreaterThan(least - 1);
    expect(mib).toBeLessThan(most + 1);
  });

  it('a text may be longer than a batch, and unknown heads are taken as small', () => {
    const known = arenaBytes({ maxBatchTokens: 100, maxTokens: 512, width: 384, heads: 12 });
    expect(arenaBytes({ maxBatchTokens: 512, maxTokens: 512, width: 384 })).toBe(known);
  });
});
