import { status } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import type { ServingPort } from '../../model-server/api/ports.ts';
import { type Reason, ServingError } from '../../model-server/errors.ts';
import type { RawTensor } from '../../model-server/types.ts';
import { GRPCInferenceService } from '../../proto/gen/inference_pb.js';
import { type FakeServerOptions, fakeServing, startApi } from './fake-models.ts';
import { TestClient } from './grpc-client.ts';

const { modelInfer } = GRPCInferenceService.method;
const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
const start = async (options: FakeServerOptions = {}) => {
  const api = await startApi(options);
  const client = new TestClient(api.grpcPort);
  closers.push(api.close, () => client.close());
  return client;
};

const ref = { name: 'raw', version: 3, space: '', dimension: 0 };
const timings = { queueUs: 0, tokenizeUs: 0, computeUs: 0, postUs: 0 };
/** Gives every input back under its own name. */
const echo = () => {
  const seen: Parameters<ServingPort['infer']>[] = [];
  const infer: ServingPort['infer'] = async (...args) => {
    seen.push(args);
    return { ref, outputs: args[1].inputs, timings };
  };
  return { seen, serving: fakeServing({ infer }) };
};
const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const plain = ({ name, dataType, shape, data }: RawTensor) => [name, dataType, shape, [...data]];

describe('ModelInfer', () => {
  const fp32 = bytesOf(new Float32Array([1.5, -2, 3, 4]));
  const int64 = bytesOf(new BigInt64Array([1n, -(2n ** 62n)]));
  const strings = new Uint8Array([2, 0, 0, 0, 0x68, 0x69, 0, 0, 0, 0]);
  const inputs = [
    { name: 'a', datatype: 'FP32', shape: [2n, 2n] },
    { name: 'b', datatype: 'INT64', shape: [1n, 2n] },
    { name: 'c', datatype: 'BYTES', shape: [2n] },
  ];
  const expected = [
    ['a', 'FP32', [2, 2], [...fp32]],
    ['b', 'INT64', [1, 2], [...int64]],
    ['c', 'BYTES', [2], [...strings]],
  ];

  it('takes raw tensors and gives raw tensors', async () => {
    const { seen, serving } = echo();
    const client = await start({ serving });
    const reply = await client.ask(modelInfer, {
      modelName: 'raw',
      id: 'call 1',
      inputs,
      outputs: [{ name: 'c' }, { name: 'a' }],
      rawInputContents: [fp32, int64, strings],
    });
    expect(seen[0]![0]).toMatchObject({ model: 'raw', version: 0, task: 'infer', alias: '' });
    expect(seen[0]![1].inputs.map(plain)).toEqual(expected);
    expect(seen[0]![1].outputs).toEqual(['c', 'a']);
    expect(reply).toMatchObject({ modelName: 'raw', modelVersion: '3', id: 'call 1' });
    expect(reply.outputs.map(({ name, datatype, shape }) => [name, datatype, shape])).toEqual(
      inputs.map(({ name, datatype, shape }) => [name, datatype, shape]),
    );
    expect(reply.rawOutputContents.map((bytes) => [...bytes])).toEqual(expected.map((tensor) => tensor[3]));
  });

  it('takes the same values typed', async () => {
    const { seen, serving } = echo();
    const client = await start({ serving });
    const text = (value: string) => new TextEncoder().encode(value);
    const contents = [
      { fp32Contents: [1.5, -2, 3, 4] },
      { int64Contents: [1n, -(2n ** 62n)] },
      { bytesContents: [text('hi'), text('')] },
    ];
    const typed = inputs.map((input, index) => ({ ...input, contents: contents[index]! }));
    await client.ask(modelInfer, { modelName: 'raw', modelVersion: '3', inputs: typed });
    expect(seen[0]![0].version).toBe(3);
    expect(seen[0]![1].inputs.map(plain)).toEqual(expected);
  });

  it.each([
    ['BOOL', { boolContents: [true, false] }, new Uint8Array([1, 0])],
    ['INT8', { intContents: [-128, 127] }, new Int8Array([-128, 127])],
    ['INT16', { intContents: [-32768, 5] }, new Int16Array([-32768, 5])],
    ['INT32', { intContents: [-7, 7] }, new Int32Array([-7, 7])],
    ['UINT8', { uintContents: [0, 255] }, new Uint8Array([0, 255])],
    ['UINT16', { uintContents: [0, 65535] }, new Uint16Array([0, 65535])],
    ['UINT32', { uintContents: [0, 4294967295] }, new Uint32Array([0, 4294967295])],
    ['UINT64', { uint64Contents: [0n, 2n ** 63n] }, new BigUint64Array([0n, 2n ** 63n])],
    ['FP64', { fp64Contents: [0.1, -1e300] }, new Float64Array([0.1, -1e300])],
  ])('writes typed %s as little-endian bytes', async (datatype, contents, array) => {
    const { seen, serving } = echo();
    const client = await start({ serving });
    await client.ask(modelInfer, {
      modelName: 'raw',
      inputs: [{ name: 'x', datatype, shape: [2n], contents }],
    });
    expect([...seen[0]![1].inputs[0]!.data]).toEqual([...bytesOf(array)]);
  });

  it('takes tensors of more than 4 MiB, empty ones and scalars', async () => {
    const { seen, serving } = echo();
    const client = await start({ serving });
    const big = new Uint8Array(5 * 1024 * 1024);
    const shapes = [[BigInt(big.byteLength)], [0n, 8n], []];
    const tensors = shapes.map((shape, index) => ({ name: String(index), datatype: 'UINT8', shape }));
    const reply = await client.ask(modelInfer, {
      modelName: 'raw',
      inputs: tensors,
      rawInputContents: [big, new Uint8Array(0), new Uint8Array(1)],
    });
    expect(seen[0]![1].inputs.map(({ shape }) => shape)).toEqual([[big.byteLength], [0, 8], []]);
    expect(reply.rawOutputContents[0]).toHaveLength(big.byteLength);
  });

  const x = { name: 'x', datatype: 'FP32', shape: [2n] };
  const bad: [string, object, RegExp][] = [
    [
      'a size that does not fit the shape',
      { inputs: [x], rawInputContents: [new Uint8Array(7)] },
      /'x' has 7 bytes.*8/,
    ],
    [
      'too few values',
      { inputs: [{ ...x, contents: { fp32Contents: [1] } }] },
      /'x' has 1 values in fp32_contents.*2/,
    ],
    ['no values', { inputs: [x] }, /'x' has 0 values/],
    [
      'values in the field of another type',
      { inputs: [{ ...x, contents: { intContents: [1, 2] } }] },
      /'x' has 0 values in fp32_contents/,
    ],
    [
      'both ways at once',
      { inputs: [{ ...x, contents: { fp32Contents: [1, 2] } }], rawInputContents: [new Uint8Array(8)] },
      /'x' has contents although/,
    ],
    [
      'raw bytes that belong to no input',
      { inputs: [x], rawInputContents: [new Uint8Array(8), new Uint8Array(8)] },
      /2 entries for 1 inputs/,
    ],
    ['an unknown type', { inputs: [{ ...x, datatype: 'FLOAT' }] }, /'x' has the datatype "FLOAT".*FP32/],
    [
      'a type with a name of every object',
      { inputs: [{ ...x, datatype: 'constructor' }] },
      /'x' has the datatype/,
    ],
    ['a negative length', { inputs: [{ ...x, shape: [-1n] }] }, /'x' has the shape \[-1\]/],
    [
      'a shape of astronomic size',
      { inputs: [{ ...x, shape: [2n ** 40n, 2n ** 40n] }] },
      /'x' has a shape of too many/,
    ],
    [
      'typed FP16',
      { inputs: [{ ...x, datatype: 'FP16', contents: { fp32Contents: [1, 2] } }] },
      /'x' is of type FP16.*raw/,
    ],
    [
      'a value out of range',
      { inputs: [{ ...x, datatype: 'INT8', contents: { intContents: [1, 128] } }] },
      /'x' has the value 128, which is no INT8/,
    ],
    [
      'a string cut short',
      { inputs: [{ ...x, datatype: 'BYTES' }], rawInputContents: [new Uint8Array([9, 0, 0, 0, 1])] },
      /'x' ends inside its element 0/,
    ],
    [
      'a length cut short',
      { inputs: [{ ...x, datatype: 'BYTES' }], rawInputContents: [new Uint8Array([9, 0])] },
      /'x' ends inside the length/,
    ],
    ['the version "abc"', { modelVersion: 'abc' }, /version string 'abc'.*integral value > 0/],
    ['the version "0"', { modelVersion: '0' }, /version string '0'/],
    ['the version "-1"', { modelVersion: '-1' }, /version string '-1'/],
    [
      'a timeout that is none',
      { parameters: { timeout: { parameterChoice: { case: 'stringParam', value: 'soon' } } } },
      /'timeout'/,
    ],
  ];
  it.each(bad)('refuses %s by name', async (_, request, details) => {
    const { seen, serving } = echo();
    const client = await start({ serving });
    await expect(client.ask(modelInfer, { modelName: 'raw', ...request })).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(details),
    });
    expect(seen).toEqual([]);
  });

  it.each([
    [{ parameters: { sequence_id: { parameterChoice: { case: 'int64Param', value: 4n } } } }, /sequence_id/],
    [
      {
        outputs: [
          {
            name: 'y',
            parameters: { classification: { parameterChoice: { case: 'int64Param', value: 3n } } },
          },
        ],
      },
      /classification.*'y'/,
    ],
    [
      {
        inputs: [
          {
            ...x,
            parameters: { shared_memory_region: { parameterChoice: { case: 'stringParam', value: 'r' } } },
          },
        ],
      },
      /shared_memory_region.*'x'/,
    ],
  ] as const)('refuses a parameter that it does not honour: %#', async (request, details) => {
    const client = await start({ serving: echo().serving });
    await expect(client.ask(modelInfer, { modelName: 'raw', ...(request as object) })).rejects.toMatchObject({
      code: status.UNIMPLEMENTED,
      details: expect.stringMatching(details),
    });
  });

  it.each(['int64Param', 'uint64Param', 'stringParam'] as const)(
    'a timeout as %s is how long the request may wait, and no deadline',
    async (kind) => {
      const { seen, serving } = echo();
      const client = await start({ serving });
      const value = kind === 'stringParam' ? '3600000000' : 3_600_000_000n;
      const parameters = { timeout: { parameterChoice: { case: kind, value } as never } };
      const soon = { deadline: Date.now() + 60_000 };
      await client.ask(modelInfer, { modelName: 'raw', parameters }, soon);
      expect(seen[0]![2].timeoutMs).toBe(3_600_000);
      expect(seen[0]![2].deadlineMs).toBeLessThanOrEqual(soon.deadline + 1000);
      await client.ask(modelInfer, { modelName: 'raw' });
      expect(seen[1]![2].timeoutMs).toBeUndefined();
    },
  );

  const told: [Reason, string, number, RegExp][] = [
    ['MODEL_NOT_FOUND', '', status.NOT_FOUND, /^Request for unknown model: 'raw' is not found$/],
    ['VERSION_NOT_FOUND', '9', status.NOT_FOUND, /^Request for unknown model: 'raw' version 9 is not found$/],
    ['MODEL_NOT_READY', '', status.UNAVAILABLE, /'raw' is not at ready state/],
    ['MODEL_LOAD_FAILED', '3', status.UNAVAILABLE, /'raw' version 3 is not at ready state: why/],
    ['QUEUE_FULL', '', status.UNAVAILABLE, /Exceeds maximum queue size/],
    ['MEMORY_BUDGET_EXCEEDED', '', status.UNAVAILABLE, /why/],
    ['DEADLINE_EXCEEDED', '', status.UNAVAILABLE, /^Request timeout expired$/],
    ['SHAPE_MISMATCH', '', status.INVALID_ARGUMENT, /why/],
    ['BATCH_FAILED', '', status.INTERNAL, /why/],
    ['INTERNAL', '', status.INTERNAL, /why/],
  ];
  it.each(told)('tells %s in the words that clients know', async (reason, modelVersion, code, details) => {
    const infer: ServingPort['infer'] = () => Promise.reject(new ServingError(reason, 'why'));
    const client = await start({ serving: fakeServing({ infer }) });
    await expect(client.ask(modelInfer, { modelName: 'raw', modelVersion })).rejects.toMatchObject({
      code,
      reason,
      details: expect.stringMatching(details),
    });
  });

  it('a request without a model, and one that can not be read', async () => {
    const client = await start({ serving: echo().serving });
    await expect(client.ask(modelInfer, {})).rejects.toMatchObject({
      code: status.NOT_FOUND,
      details: "Request for unknown model: '' is not found",
    });
    const path = '/inference.GRPCInferenceService/ModelInfer';
    const broken = client.call(
      path,
      [modelInfer.input, modelInfer.output],
      Buffer.from([0x0a, 2, 0xc3, 0x28]),
    );
    await expect(broken).rejects.toMatchObject({ code: status.INVALID_ARGUMENT, reason: 'INVALID_INPUT' });
  });
});
