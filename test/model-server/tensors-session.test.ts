import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { cpuInstances } from '../../model-server/executor/devices.ts';
import { Pool, type PoolOptions } from '../../model-server/executor/pool.ts';
import { checkTensors } from '../../model-server/scheduler/check-tensors.ts';
import { systemClock } from '../../model-server/scheduler/clock.ts';
import { Scheduler } from '../../model-server/scheduler/scheduler.ts';
import type { BackendInfo, DataType, RawTensor } from '../../model-server/types.ts';
import { ELEMENT, onnxModel } from './onnx-message.ts';
import { tensorModel, textEncoder } from './onnx-writer.ts';
import { blobs, fp32, int64, values } from './raw-tensors.ts';
import { temporaryFolder } from './repository.ts';

const owner = 'model m version 1';
const folder = temporaryFolder();
afterAll(folder.remove);
const pools: Pool[] = [];
afterEach(() => Promise.all(pools.splice(0).map((pool) => pool.destroy())));

interface Opened {
  info: BackendInfo;
  pool: Pool;
  scheduler: Scheduler;
  infer: (inputs: RawTensor[], outputs?: string[]) => Promise<RawTensor[]>;
}

/** A real session in a thread or a process behind a scheduler. */
async function open(
  model: Uint8Array,
  options: Partial<PoolOptions> & { text?: boolean } = {},
): Promise<Opened> {
  const modelFile = join(folder.path, 'model.onnx');
  writeFileSync(modelFile, model);
  const { text = false, ...rest } = options;
  const pool = new Pool({
    owner,
    session: { modelFile, intraOpThreads: 1, pooling: 'mean', normalize: true, text },
    instances: cpuInstances(1),
    maxRespawns: 0,
    watchdogMs: 0,
    ...rest,
  });
  pools.push(pool);
  const info = await pool.open();
  const scheduler = new Scheduler(pool, {
    owner,
    batch: { maxItems: 8, maxTokens: 1024 },
    overheadTokens: 8,
    queue: { maxItems: 100, maxTokens: 10_000 },
    queueDelayUs: 0,
    clock: systemClock,
  });
  const infer = async (inputs: RawTensor[], outputs: string[] = []) => {
    const call = checkTensors(info, { inputs, outputs }, { owner, batched: true, maxRows: 8 });
    return (await scheduler.submitTensors(call)).tensors;
  };
  return { info, pool, scheduler, infer };
}

const x = (...rows: number[]) =>
  fp32(
    'x',
    [rows.length, 4],
    rows.flatMap((row) => [row, row, row, row]),
  );
const n = (...rows: number[]) =>
  int64(
    'n',
    [rows.length, 4],
    rows.flatMap((row) => [row, -row, 0, 1]),
  );
const s = (...rows: string[]) =>
  blobs(
    's',
    [rows.length, 4],
    rows.flatMap((row) => [row, '', 'ü🙂', row]),
  );

/** A model that gives back what it is given, of an element type by ONNX's number. */
function identity(element: number): Uint8Array {
  const port = (name: string) => ({ name, element: 'INT32' as const, dims: ['batch', 2] });
  const model = onnxModel({
    nodes: [{ type: 'Identity', inputs: ['in'], outputs: ['out'] }],
    weights: [],
    inputs: [port('in')],
    outputs: [port('out')],
  });
  // elem_type (field 1) = INT32 (6), followed by the shape (field 2).
  for (let at = 0; at + 2 < model.length; at++)
    if (model[at] === 8 && model[at + 1] === 6 && model[at + 2] === 0x12) model[at + 1] = element;
  return model;
}

describe.each(['thread', 'process'] as const)('raw tensors through a real session in a %s', (isolation) => {
  it('floats, integers and strings in one call; several calls joined', async () => {
    const { info, infer } = await open(tensorModel(), { isolation });
    expect(info).toMatchObject({
      text: undefined,
      executionProvider: 'cpu',
      inputs: [
        { name: 'x', dataType: 'FP32', shape: [-1, 4] },
        { name: 'n', dataType: 'INT64', shape: [-1, 4] },
        { name: 's', dataType: 'BYTES', shape: [-1, 4] },
      ],
    });
    const answers = await Promise.all([
      infer([x(1), n(1), s('a')]),
      infer([x(2, 3), n(2, 3), s('', 'long string')]),
      infer([x(4), n(4), s('ß')], ['s_same']),
    ]);
    expect(values(answers[0]![0]!)).toEqual([2, 2, 2, 2]);
    expect(answers[1]!.map((tensor) => tensor.shape)).toEqual([
      [2, 4],
      [2, 4],
      [2, 4],
    ]);
    expect(values(answers[1]![0]!)).toEqual([3, 3, 3, 3, 4, 4, 4, 4]);
    expect(answers[1]![1]!.data).toEqual(n(2, 3).data);
    expect(Buffer.from(answers[1]![2]!.data)).toEqual(Buffer.from(s('', 'long string').data));
    expect(answers[2]!.map((tensor) => tensor.name)).toEqual(['s_same']);
    expect(Buffer.from(answers[2]![0]!.data)).toEqual(Buffer.from(s('ß').data));
  });
});

describe('element types', () => {
  const table: [DataType, number, number][] = [
    ['UINT8', 2, 1],
    ['INT8', 3, 1],
    ['UINT16', 4, 2],
    ['INT16', 5, 2],
    ['INT32', 6, 4],
    ['INT64', 7, 8],
    ['BOOL', 9, 1],
    ['FP16', 10, 2],
    ['FP64', 11, 8],
    ['UINT32', 12, 4],
    ['UINT64', 13, 8],
  ];
  it.each(table)('%s comes back to the bit', async (dataType, element, bytes) => {
    const { info, infer } = await open(identity(element));
    expect(info.inputs[0]!.dataType).toBe(dataType);
    const data = Uint8Array.from({ length: 4 * bytes }, (_, at) => (dataType === 'BOOL' ? at % 2 : 17 + at));
    // From an odd address on, as a tensor lies in a message.
    const unaligned = new Uint8Array(data.length + 1);
    unaligned.set(data, 1);
    const [out] = await infer([{ name: 'in', dataType, shape: [2, 2], data: unaligned.subarray(1) }]);
    expect(out).toMatchObject({ name: 'out', dataType, shape: [2, 2] });
    expect(Array.from(out!.data)).toEqual(Array.from(data));
  });

  it('BF16 is refused by name when the model is loaded', async () => {
    await expect(open(identity(16))).rejects.toMatchObject({
      reason: 'MODEL_LOAD_FAILED',
      message: expect.stringMatching(/BF16.*FP16 or FP32/),
    });
  });

  it('strings that are no UTF-8 are refused, and hurt only themselves', async () => {
    const { infer, pool } = await open(tensorModel({ parts: ['BYTES'] }));
    const bad = blobs('s', [1, 4], ['a', Uint8Array.of(0xff, 0xfe), 'b', 'c']);
    const [good, poison] = await Promise.allSettled([infer([s('a')]), infer([bad])]);
    expect(good.status).toBe('fulfilled');
    expect((poison as PromiseRejectedResult).reason).toMatchObject({
      reason: 'INVALID_INPUT',
      message: expect.stringMatching(/element 1 of input s is not UTF-8/),
    });
    // As a warm-up sample, which nobody checks before.
    await expect(
      pool.take()!.run({ kind: 'tensors', rows: 1, inputs: [bad], outputs: [] }),
    ).rejects.toMatchObject({
      reason: 'BATCH_FAILED',
      message: expect.stringMatching(/input s: element 1 is not UTF-8/),
    });
  });
});

describe('one session for texts and raw tensors', () => {
  it('answers both alike', async () => {
    const { scheduler, infer, info, pool } = await open(textEncoder({ width: 8 }), { text: true });
    expect(info.text).toMatchObject({ output: 'last_hidden_state', dimension: 8, labels: 0, perToken: true });
    const ids = [5, 6, 7];
    const mask = int64('attention_mask', [1, 3], [1, 1, 1]);
    const [states, [text]] = await Promise.all([
      infer([int64('input_ids', [1, 3], ids), mask]),
      Promise.all(scheduler.submit([{ row: { ids: Int32Array.from(ids) }, reduction: { kind: 'tokens' } }])),
    ]);
    const raw = values(states[0]!);
    for (let token = 0; token < 3; token++) {
      const state = raw.slice(token * 8, token * 8 + 8);
      const norm = Math.hypot(...state);
      state.forEach((value, at) => {
        expect(text!.output[token * 8 + at]).toBeCloseTo(value / norm, 5);
      });
    }
    expect(pool.states).toHaveLength(1);
  });

  it('token states in half precision are read as well', async () => {
    const ids = { name: 'input_ids', element: 'INT64' as const, dims: ['batch', 'sequence'] };
    const states = { name: 'last_hidden_state', element: 'FP16' as const, dims: ['batch', 'sequence', 2] };
    const data = new Uint8Array(Float32Array.of(0, 0, 3, -4, 2 ** -24, 0.5).buffer);
    const model = onnxModel({
      nodes: [
        { type: 'Gather', inputs: ['table', 'input_ids'], outputs: ['wide'] },
        { type: 'Cast', inputs: ['wide'], outputs: ['last_hidden_state'], attributes: { to: ELEMENT.FP16 } },
      ],
      weights: [{ name: 'table', element: 'FP32', dims: [3, 2], data }],
      inputs: [ids],
      outputs: [states],
    });
    const { scheduler } = await open(model, { text: true });
    const [result] = await Promise.all(
      scheduler.submit([{ row: { ids: Int32Array.of(1, 2) }, reduction: { kind: 'tokens' } }]),
    );
    const expected = [0.6, -0.8, 2 ** -23, 1];
    expected.forEach((value, at) => {
      expect(result!.output[at]).toBeCloseTo(value, 6);
    });
    expect(result!.output[2]).toBeGreaterThan(0);
  });

  it('a model that is opened for raw tensors refuses texts', async () => {
    const { scheduler } = await open(textEncoder());
    const row = { ids: Int32Array.of(1) };
    await expect(scheduler.submit([{ row, reduction: { kind: 'pooled' } }])[0]).rejects.toMatchObject({
      reason: 'BATCH_FAILED',
      message: expect.stringContaining('raw tensors only'),
    });
  });

  it('a text encoder is told by its inputs, and by the output that its configuration names', async () => {
    const odd = textEncoder({ output: 'my_states' });
    await expect(open(odd, { text: true })).rejects.toThrow(/none of its outputs \(my_states\)/);
    const { info } = await open(odd, {
      session: session({ outputName: 'my_states' }),
    });
    expect(info.text).toMatchObject({ output: 'my_states', dimension: 8, perToken: true });
    await expect(open(odd, { session: session({ outputName: 'other' }) })).rejects.toThrow(
      /no output other; its outputs are my_states/,
    );
    await expect(open(tensorModel(), { text: true })).rejects.toThrow(
      /its inputs are x, n, s; a text encoder/,
    );
  });

  it('takes every option of a session', async () => {
    const { infer } = await open(tensorModel({ parts: ['FP32'] }), {
      session: session({
        text: false,
        interOpThreads: 2,
        executionMode: 'parallel',
        memArena: false,
        graphLevel: 'basic',
      }),
    });
    expect(values((await infer([x(1)]))[0]!)).toEqual([2, 2, 2, 2]);
  });
});

const session = (override: object) => ({
  modelFile: join(folder.path, 'model.onnx'),
  intraOpThreads: 1,
  pooling: 'mean' as const,
  normalize: true,
  text: true,
  ...override,
});
