import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { sampleTensors } from '../../model-server/models/opening/sample-tensors.ts';
import { bucketsOf, type WarmUpOptions, warmUp } from '../../model-server/models/opening/warm-up.ts';
import type { WarmupInput, WarmupSample } from '../../model-server/models/repository/warmup-samples.ts';
import type { DataType, RawTensor } from '../../model-server/types.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'warm-up-'));
  mkdirSync(join(folder, 'warmup'));
  writeFileSync(join(folder, 'warmup/ids'), new Uint8Array(new BigInt64Array([7n, 8n]).buffer));
  writeFileSync(join(folder, 'warmup/words'), Buffer.from('\x02\0\0\0hi\0\0\0\0', 'latin1'));
  writeFileSync(join(folder, 'warmup/torn'), Buffer.from('\x05\0\0\0hi', 'latin1'));
  writeFileSync(join(folder, 'secret'), 'x');
  symlinkSync(join(folder, 'secret'), join(folder, 'warmup/link'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const sample = (input: Partial<WarmupInput>, rest: Partial<WarmupSample> = {}): WarmupSample => ({
  name: 's',
  batchSize: 1,
  count: 0,
  inputs: [{ name: 'x', dataType: 'FP32', dims: [2], source: 'zero', ...input }],
  ...rest,
});
const only = (input: Partial<WarmupInput>, rest: Partial<WarmupSample> = {}, hasBatchDimension = true) =>
  sampleTensors(sample(input, rest), { modelFolder: folder, hasBatchDimension })[0]!;
const as = <T>(make: new (buffer: ArrayBuffer) => T, { data }: RawTensor) => new make(data.slice().buffer);

describe('the tensors of a model_warmup sample', () => {
  it('zeros have the batch dimension in front, where the model has one', () => {
    const zeros = { name: 'x', dataType: 'FP32', data: new Uint8Array(24) };
    expect(only({}, { batchSize: 3 })).toEqual({ ...zeros, shape: [3, 2] });
    expect(only({ dims: [3, 2] }, { batchSize: 9 }, false)).toEqual({ ...zeros, shape: [3, 2] });
    expect(only({ dataType: 'BYTES' })).toMatchObject({ shape: [1, 2], data: new Uint8Array(8) });
  });

  it.each<DataType>(['BOOL', 'UINT8', 'INT8', 'UINT16', 'INT16', 'UINT32', 'INT32', 'INT64', 'UINT64'])(
    'random %s is 0 or 1, both, and always the same',
    (dataType) => {
      const tensor = only({ dataType, dims: [64], source: 'random' });
      const size = tensor.data.length / 64;
      const values = Array.from({ length: 64 }, (_, i) => tensor.data.subarray(i * size, (i + 1) * size));
      expect(new Set(values.map(([low]) => low))).toEqual(new Set([0, 1]));
      expect(values.every((bytes) => bytes.slice(1).every((high) => high === 0))).toBe(true);
      expect(only({ dataType, dims: [64], source: 'random' })).toEqual(tensor);
    },
  );

  it('random floats are in [0, 1) and differ', () => {
    const floats = (dataType: DataType) => only({ dataType, dims: [500], source: 'random' });
    const upper = (tensor: RawTensor) => {
      // BF16 is the upper half of FP32.
      const words = new Uint32Array(as(Uint16Array, tensor)).map((word) => word << 16);
      return new Float32Array(words.buffer);
    };
    const half = (tensor: RawTensor) =>
      Array.from(as(Uint16Array, tensor), (bits) => 2 ** ((bits >> 10) - 15) * (1 + (bits & 0x3ff) / 1024));
    const lists: ArrayLike<number>[] = [
      as(Float32Array, floats('FP32')),
      as(Float64Array, floats('FP64')),
      upper(floats('BF16')),
      half(floats('FP16')),
    ];
    for (const list of lists) {
      const values = Array.from(list);
      expect(values).toHaveLength(500);
      expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
      expect(new Set(values).size).toBeGreaterThan(100);
    }
  });

  it('a file is one row, and every row of the batch gets it', () => {
    const tensor = only({ dataType: 'INT64', source: 'ids' }, { batchSize: 2 });
    expect(tensor.shape).toEqual([2, 2]);
    expect([...as(BigInt64Array, tensor)]).toEqual([7n, 8n, 7n, 8n]);
    expect(only({ dataType: 'BYTES', source: 'words' }, { batchSize: 2 }).data).toHaveLength(20);
  });

  it.each<[string, Partial<WarmupInput>, string]>([
    ['a size that is not fixed', { dims: [-1, 4] }, 'dims [-1, 4] must be fixed numbers'],
    ['more than 256 MiB', { dims: [70_000, 1_000] }, '280000000 bytes are above the limit of 268435456'],
    ['a missing file', { source: 'nowhere' }, 'the file nowhere is not in warmup/'],
    ['a file outside', { source: '../secret' }, '../secret is outside of warmup/'],
    ['a link to the outside', { source: 'link' }, 'link is outside of warmup/'],
    ['another size', { source: 'ids' }, 'ids has 16 bytes; one row of FP32 takes 8'],
    [
      'too few strings',
      { dataType: 'BYTES', dims: [3], source: 'words' },
      'words has 2 strings instead of 3',
    ],
    ['strings cut off', { dataType: 'BYTES', source: 'torn' }, 'the last string of torn is cut off'],
  ])('refuses %s', (_what, input, why) => {
    expect(() => only(input)).toThrow(
      expect.objectContaining({
        reason: 'MODEL_CONFIG_INVALID',
        message: `model_warmup "s", input "x": ${why}`,
      }),
    );
  });
});

describe('the shapes of a text model', () => {
  it('are powers of two up to the longest text, alone and in the largest batch, the cheapest first', () => {
    const shapes = bucketsOf({ maxTokens: 50, maxBatchTokens: 64, maxBatchItems: 4 });
    expect(shapes.map(({ rows, length }) => `${rows}x${length}`)).toEqual([
      '1x8',
      '1x16',
      '4x8',
      '1x32',
      '1x50',
      '4x16',
      '2x32',
    ]);
  });

  it.each([
    [{ maxTokens: 5, maxBatchTokens: 4, maxBatchItems: 32 }, ['1x5']],
    [{ maxTokens: 8, maxBatchTokens: 8, maxBatchItems: 1 }, ['1x8']],
    [{ maxTokens: 16, maxBatchTokens: 64, maxBatchItems: 2 }, ['1x8', '2x8', '1x16', '2x16']],
  ])('%o', (limits, expected) => {
    expect(bucketsOf(limits).map(({ rows, length }) => `${rows}x${length}`)).toEqual(expected);
  });
});

describe('a warm-up', () => {
  const buckets = [8, 16, 32].map((length) => ({ length, rows: 1 }));
  /** Each pass takes `passMs` on a clock of the test's own. */
  const setUp = (change: Partial<WarmUpOptions> = {}, passMs = 10) => {
    const clock = { nowMs: 0 };
    const passes: string[] = [];
    const runRow = vi.fn(async (length: number, rows: number) => {
      clock.nowMs += passMs;
      passes.push(`${rows}x${length}`);
    });
    const runTensors = vi.fn(async (tensors: RawTensor[]) => {
      passes.push(tensors.map(({ name, shape }) => `${name}[${shape}]`).join());
    });
    const options: WarmUpOptions = {
      owner: 'model m version 1',
      samples: [],
      modelFolder: folder,
      hasBatchDimension: true,
      buckets,
      capMs: 1_000,
      nowMs: () => clock.nowMs,
      ...change,
    };
    return { clock, passes, runRow, runTensors, options };
  };

  it('is ready after the smallest shape, and does the rest once, when told to', async () => {
    const { passes, runRow, runTensors, options } = setUp();
    const { goOn } = await warmUp({ runRow, runTensors }, options);
    expect(passes).toEqual(['1x8']);
    expect(await Promise.all([goOn(), goOn()])).toEqual(
      Array(2).fill({ buckets: 3, of: 3, stoppedBy: 'done', failure: '' }),
    );
    expect(passes).toEqual(['1x8', '1x16', '1x32']);
  });

  it.each([
    ['the cap, when time is up', { capMs: 20 }, 'cap', 2],
    ['a cap of 0 after the first pass', { capMs: 0 }, 'cap', 1],
    ['users who wait', { shouldYield: () => true }, 'traffic', 1],
    ['an unload', { signal: AbortSignal.abort() }, 'abort', 1],
  ])('is stopped by %s', async (_what, change, stoppedBy, count) => {
    const { runRow, runTensors, options } = setUp(change);
    const { goOn } = await warmUp({ runRow, runTensors }, options);
    expect(await goOn()).toEqual({ buckets: count, of: 3, stoppedBy, failure: '' });
    expect(runRow).toHaveBeenCalledTimes(count);
  });

  it('what is done before it goes on does not count against the cap', async () => {
    const { runRow, runTensors, options, clock } = setUp({ capMs: 20 });
    const { goOn } = await warmUp({ runRow, runTensors }, options);
    clock.nowMs += 1_000;
    expect(await goOn()).toMatchObject({ buckets: 2, stoppedBy: 'cap' });
  });

  it('a first pass that fails is a failed load; a later one is told', async () => {
    const { runTensors, options } = setUp();
    const failAt = (bad: number) => async (length: number) => {
      if (length === bad) throw new Error('bad shape');
    };
    await expect(warmUp({ runRow: failAt(8), runTensors }, options)).rejects.toMatchObject({
      reason: 'MODEL_LOAD_FAILED',
      message: 'model m version 1 failed its first pass: bad shape',
    });
    const { goOn } = await warmUp({ runRow: failAt(16), runTensors }, options);
    expect(await goOn()).toEqual({
      buckets: 1,
      of: 3,
      stoppedBy: 'failure',
      failure: '1 x 16 tokens: bad shape',
    });
  });

  it('a pass that fails because of the unload is no failure', async () => {
    const { runTensors, options } = setUp();
    const unload = new AbortController();
    const runRow = async (length: number) => {
      if (length === 8) return;
      unload.abort();
      throw new Error('its thread ended');
    };
    const { goOn } = await warmUp({ runRow, runTensors }, { ...options, signal: unload.signal });
    expect(await goOn()).toMatchObject({ stoppedBy: 'abort', failure: '' });
  });

  it('samples run first, as often as they say, and instead of the shapes', async () => {
    const samples = [sample({ name: 'a' }, { count: 2 }), sample({ name: 'b' }, { batchSize: 4 })];
    const { passes, runRow, runTensors, options } = setUp({ samples });
    const { goOn } = await warmUp({ runRow, runTensors }, options);
    expect(passes).toEqual(['a[1,2]', 'a[1,2]', 'b[4,2]']);
    expect(await goOn()).toMatchObject({ of: 0, stoppedBy: 'done' });
  });

  it('every run of a sample has data of its own, which a worker may take away', async () => {
    const { options } = setUp({ samples: [sample({ source: 'random' }, { count: 2 })] });
    const seen: number[][] = [];
    const runTensors = async ([tensor]: RawTensor[]) => {
      seen.push([...tensor!.data]);
      structuredClone(tensor!.data, { transfer: [tensor!.data.buffer as ArrayBuffer] });
    };
    await warmUp({ runTensors }, options);
    expect(seen[1]).toEqual(seen[0]);
  });

  it('a sample that fails, or that can not be made, is a failed load naming it', async () => {
    const failing = async () => {
      throw new Error('index out of range');
    };
    const { options } = setUp({ samples: [sample({})] });
    await expect(warmUp({ runTensors: failing }, options)).rejects.toMatchObject({
      reason: 'MODEL_LOAD_FAILED',
      message: 'model m version 1: model_warmup sample "s" failed: index out of range',
    });
    const { options: torn, runTensors } = setUp({ samples: [sample({ source: 'nowhere' })] });
    await expect(warmUp({ runTensors }, torn)).rejects.toMatchObject({ reason: 'MODEL_LOAD_FAILED' });
  });

  it('a model of raw tensors without samples has nothing to do', async () => {
    const { runTensors, options } = setUp();
    const { goOn } = await warmUp({ runTensors }, options);
    expect(await goOn()).toMatchObject({ buckets: 0, of: 0, stoppedBy: 'done' });
    expect(runTensors).not.toHaveBeenCalled();
  });
});
