import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { RawTensor } from '../../model-server/types.ts';
import { type Harness, startLifecycle, target } from './lifecycle-harness.ts';
import { onnxModel } from './onnx-message.ts';
import { type TensorModelOptions, writeTensorModel } from './onnx-writer.ts';
import { blobs, fp32, int64, values } from './raw-tensors.ts';
import { temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

/** A server of one model with a config.pbtxt, as Triton's users write them. */
async function serve(config: string, options: TensorModelOptions | ((folder: string) => void) = {}) {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  const folder = join(path, 'm');
  if (typeof options === 'function') {
    mkdirSync(join(folder, '1'), { recursive: true });
    options(folder);
  } else writeTensorModel(path, 'm', options);
  writeFileSync(join(folder, 'config.pbtxt'), config);
  const server = await startLifecycle(path);
  cleanUp.push(() => server[Symbol.asyncDispose]());
  return server;
}

const infer = async (server: Harness, inputs: RawTensor[], outputs: string[] = []) =>
  (await server.lifecycle.serving.infer(target('m', { task: 'infer' }), { inputs, outputs }, {})).outputs;

const x4 = (rows: number) =>
  fp32(
    'x',
    [rows, 4],
    Array.from({ length: rows * 4 }, (_, i) => i),
  );

describe('a model of a Triton repository', () => {
  it('is served as its config says, with raw tensors in and out', async () => {
    const server = await serve(
      `name: "m"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [
  {
    name: "x"
    data_type: TYPE_FP32
    dims: [ 4 ]
  }
]
output [
  {
    name: "y"
    data_type: TYPE_FP32
    dims: [ 4 ]
  }
]
version_policy: { latest { num_versions: 1 } }
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 60000000 allow_timeout_override: true max_queue_size: 64 }
}
optimization { graph { level: 1 } }
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
model_warmup [
  { name: "zeros" batch_size: 1 inputs { key: "x" value: { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } } },
  { name: "full" batch_size: 8 count: 2 inputs { key: "x" value: { data_type: TYPE_FP32 dims: [ 4 ] random_data: true } } }
]
`,
      { parts: ['FP32'] },
    );
    expect(server.failures).toEqual([]);
    const [report] = server.admin.list();
    expect(report).toMatchObject({ state: 'ready', tasks: ['infer'], space: '', warnings: [] });
    expect(report!.instances).toHaveLength(2);
    const signature = await server.lifecycle.serving.signature(target('m', { task: 'infer' }));
    expect(signature).toMatchObject({
      inputs: [{ name: 'x', dataType: 'FP32', shape: [-1, 4] }],
      outputs: [{ name: 'y', dataType: 'FP32', shape: [-1, 4] }],
    });
    const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => infer(server, [x4((i % 3) + 1)])));
    for (const [index, [y]] of answers.entries()) {
      const rows = (index % 3) + 1;
      expect(y).toMatchObject({ name: 'y', dataType: 'FP32', shape: [rows, 4] });
      expect(values(y!)).toEqual(Array.from({ length: rows * 4 }, (_, i) => i + 1));
    }
    await expect(infer(server, [x4(9)])).rejects.toMatchObject({
      reason: 'BATCH_TOO_LARGE',
      message: expect.stringMatching(/9 rows, more than the 8 of max_batch_size/),
    });
  });

  it('gives the outputs that its config declares, all of them or those that are named', async () => {
    const server = await serve(
      `backend: "onnxruntime"
       max_batch_size: 4
       input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] },
               { name: "n" data_type: TYPE_INT64 dims: [ 4 ] },
               { name: "s" data_type: TYPE_STRING dims: [ 4 ] } ]
       output [ { name: "s_same" data_type: TYPE_STRING dims: [ 4 ] }, { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]`,
    );
    const words = ['', 'a', 'grün', '日本語'];
    const inputs = [x4(1), int64('n', [1, 4], [1, 2, 3, 4]), blobs('s', [1, 4], words)];
    const all = await infer(server, inputs);
    expect(all.map(({ name }) => name)).toEqual(['s_same', 'y']);
    expect(all[0]!.data).toEqual(inputs[2]!.data);
    const [y, ...others] = await infer(server, inputs, ['y']);
    expect(others).toEqual([]);
    expect(values(y!)).toEqual([1, 2, 3, 4]);
    await expect(infer(server, inputs, ['n_same'])).rejects.toMatchObject({
      reason: 'INVALID_INPUT',
      message: expect.stringMatching(/no output n_same; its outputs are s_same, y/),
    });
  });

  it('takes exact shapes without a batch dimension', async () => {
    const tensors = `input [ { name: "x" data_type: TYPE_FP32 dims: [ 2, 3 ] } ]
       output [ { name: "y" data_type: TYPE_FP32 dims: [ 2, 3 ] } ]`;
    const server = await serve(`max_batch_size: 0 ${tensors}`, { parts: ['FP32'], dims: [2, 3] });
    const given = [1, 2, 3, 4, 5, 6];
    const asked = [1, 2, 3].map(() => infer(server, [fp32('x', [2, 3], given)]));
    for (const [y] of await Promise.all(asked)) {
      expect(y!.shape).toEqual([2, 3]);
      expect(values(y!)).toEqual(given.map((value) => value + 1));
    }
    await expect(infer(server, [fp32('x', [1, 2, 3], given)])).rejects.toMatchObject({
      reason: 'SHAPE_MISMATCH',
      message: expect.stringMatching(/x is FP32 \[1, 2, 3\], but the model takes FP32 \[2, 3\]/),
    });
  });

  it('takes what its config declares where the model file would take more', async () => {
    const server = await serve(
      `max_batch_size: 2
       input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
       output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]`,
      { parts: ['FP32'], dims: ['batch', 'any'] },
    );
    expect(values((await infer(server, [x4(1)]))[0]!)).toEqual([1, 2, 3, 4]);
    await expect(infer(server, [fp32('x', [1, 5], [1, 2, 3, 4, 5])])).rejects.toMatchObject({
      reason: 'SHAPE_MISMATCH',
      message: expect.stringMatching(/FP32 \[1, 5\], but the model takes FP32 \[-1, 4\]/),
    });
  });
});

describe('reshape', () => {
  it('hides from callers that the model takes no dimension but the batch', async () => {
    const server = await serve(
      `max_batch_size: 8
       input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] reshape: { shape: [ ] } } ]
       output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] reshape: { shape: [ ] } } ]
       model_warmup { name: "w" batch_size: 3 inputs { key: "x" value { data_type: TYPE_FP32 dims: 1 zero_data: true } } }`,
      { parts: ['FP32'], dims: ['batch'] },
    );
    expect(server.failures).toEqual([]);
    const { inputs } = await server.lifecycle.serving.signature(target('m', { task: 'infer' }));
    expect(inputs).toEqual([{ name: 'x', dataType: 'FP32', shape: [-1, 1] }]);
    const asked = [1, 2, 3].map((rows) =>
      infer(server, [fp32('x', [rows, 1], new Array<number>(rows).fill(rows))]),
    );
    for (const [index, [y]] of (await Promise.all(asked)).entries()) {
      expect(y!.shape).toEqual([index + 1, 1]);
      expect(values(y!)).toEqual(new Array(index + 1).fill(index + 2));
    }
    await expect(infer(server, [fp32('x', [2], [1, 2])])).rejects.toMatchObject({
      reason: 'SHAPE_MISMATCH',
      message: expect.stringMatching(/FP32 \[2\], but the model takes FP32 \[-1, 1\]/),
    });
  });

  it('carries lengths that differ from request to request, with and without a batch dimension', async () => {
    const tensors = (name: string) =>
      `{ name: "${name}" data_type: TYPE_FP32 dims: [ -1, 2, 2 ] reshape: { shape: [ -1, 4 ] } }`;
    const config = `input [ ${tensors('x')} ] output [ ${tensors('y')} ]`;
    const options: TensorModelOptions = { parts: ['FP32'], dims: ['batch', 'length', 4] };
    const batched = await serve(`max_batch_size: 8 ${config}`, options);
    const plain = await serve(`max_batch_size: 0 ${config}`, { ...options, dims: ['length', 4] });
    for (const length of [1, 3]) {
      const given = Array.from({ length: length * 4 }, (_, i) => i);
      for (const [server, shape] of [
        [batched, [1, length, 2, 2]],
        [plain, [length, 2, 2]],
      ] as const) {
        const [y] = await infer(server, [fp32('x', [...shape], given)]);
        expect(y!.shape).toEqual(shape);
        expect(values(y!)).toEqual(given.map((value) => value + 1));
      }
    }
  });

  it('adds and takes away dimensions of length 1', async () => {
    const server = await serve(
      `max_batch_size: 0
       input [ { name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 1, 2, 2 ] reshape { shape: [ 1, 1, 4 ] } } ]
       output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 1, 1, 4 ] } } ]`,
      { parts: ['FP32'], dims: [1, 1, 4] },
    );
    const [y] = await infer(server, [fp32('x', [1, 2, 2], [1, 2, 3, 4])]);
    expect(y!.shape).toEqual([4]);
    expect(values(y!)).toEqual([2, 3, 4, 5]);
  });

  it('of one output leaves the others alone', async () => {
    const graph = onnxModel({
      nodes: [
        { type: 'Identity', inputs: ['x'], outputs: ['y'] },
        { type: 'Identity', inputs: ['x'], outputs: ['z'] },
      ],
      weights: [],
      inputs: [{ name: 'x', element: 'FP32', dims: ['batch', 4] }],
      outputs: ['y', 'z'].map((name) => ({ name, element: 'FP32', dims: ['batch', 4] })),
    });
    const server = await serve(
      `max_batch_size: 4
       input [ { name: "x" data_type: TYPE_FP32 dims: 4 } ]
       output [ { name: "y" data_type: TYPE_FP32 dims: [ 2, 2 ] reshape { shape: 4 } },
                { name: "z" data_type: TYPE_FP32 dims: 4 } ]`,
      (folder) => writeFileSync(join(folder, '1', 'model.onnx'), graph),
    );
    const outputs = await infer(server, [x4(2)]);
    expect(outputs.map(({ name, shape }) => [name, shape])).toEqual([
      ['y', [2, 2, 2]],
      ['z', [2, 4]],
    ]);
  });
});

it('a batch of a preferred size does not wait for the end of the queue delay', async () => {
  const server = await serve(
    `max_batch_size: 8
     input [ { name: "x" data_type: TYPE_FP32 dims: 4 } ]
     output [ { name: "y" data_type: TYPE_FP32 dims: 4 } ]
     dynamic_batching { preferred_batch_size: [ 2 ] max_queue_delay_microseconds: 60000000 }`,
    { parts: ['FP32'] },
  );
  // Waiting for the delay would take longer than a test may.
  await Promise.all([infer(server, [x4(1)]), infer(server, [x4(1)])]);
  await infer(server, [x4(2)]);
});

describe('the queue policy', () => {
  const tensors = `max_batch_size: 8
    input [ { name: "x" data_type: TYPE_FP32 dims: 4 } ] output [ { name: "y" data_type: TYPE_FP32 dims: 4 } ]`;
  const policy = (fields: string) => `${tensors} dynamic_batching { default_queue_policy { ${fields} } }`;
  const once = (server: Harness, timeoutMs?: number) =>
    server.lifecycle.serving.infer(
      target('m', { task: 'infer' }),
      { inputs: [x4(1)], outputs: [] },
      { timeoutMs },
    );

  it('ends the wait of a request after the default time', async () => {
    const server = await serve(policy('default_timeout_microseconds: 1'), { parts: ['FP32'] });
    await expect(once(server)).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED' });
    // Without leave a request can change nothing about it.
    await expect(once(server, 60_000)).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED' });
  });

  it('lets a request ask for less time where it says so, or where it names no time', async () => {
    const hour = 3_600_000_000;
    const strict = await serve(policy(`default_timeout_microseconds: ${hour}`), { parts: ['FP32'] });
    expect((await once(strict, 0.001)).outputs).toHaveLength(1);
    const allowed = await serve(
      policy(`default_timeout_microseconds: ${hour} allow_timeout_override: true`),
      { parts: ['FP32'] },
    );
    await expect(once(allowed, 0.001)).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED' });
    expect((await once(allowed)).outputs).toHaveLength(1);
    const open = await serve(tensors, { parts: ['FP32'] });
    await expect(once(open, 0.001)).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED' });
  });

  it('does not let a request ask for more', async () => {
    const server = await serve(policy('default_timeout_microseconds: 1 allow_timeout_override: true'), {
      parts: ['FP32'],
    });
    await expect(once(server, 60_000)).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED' });
  });
});
