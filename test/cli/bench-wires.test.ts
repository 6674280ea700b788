import { create, fromBinary, toBinary, toJson } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { makeWire } from '../../cli/bench/make-wire.ts';
import { faultOf } from '../../cli/bench/wire.ts';
import { EmbedRequestSchema, EmbedResponseSchema } from '../../proto/gen/serving_pb.js';

const wire = (name: Parameters<typeof makeWire>[0]['name'], tensors: 'text' | 'ids' = 'text') =>
  makeWire({ name, model: 'org/mini lm', tensors });
const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const parsed = (bytes: Uint8Array) => JSON.parse(Buffer.from(bytes).toString()) as unknown;
const rows = (vectors: ArrayLike<number>[]) => vectors.map((vector) => Array.from(vector));
const texts = ['a', 'b ü'];
const packed = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);

describe('Nereid', () => {
  const reply = create(EmbedResponseSchema, {
    dimension: 2,
    embeddings: [{ packed: packed(1, 2) }, { values: [3, 4] }],
  });

  test('as protobuf', () => {
    const { encode, vectors, headers } = wire('proto');
    expect(headers['content-type']).toBe('application/proto');
    expect(fromBinary(EmbedRequestSchema, encode(texts, []))).toMatchObject({
      model: 'org/mini lm',
      inputs: texts,
    });
    expect(rows(vectors(Buffer.from(toBinary(EmbedResponseSchema, reply)), {}))).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });

  test('as JSON of the Connect protocol', () => {
    const { encode, vectors, path } = wire('connect-json');
    expect(path).toBe('/nereid.serving.v1.EmbedService/Embed');
    expect(parsed(encode(texts, []))).toMatchObject({ model: 'org/mini lm', inputs: texts });
    expect(rows(vectors(json(toJson(EmbedResponseSchema, reply)), {}))).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });
});

test('text-embeddings-inference', () => {
  const { encode, vectors, path } = wire('tei');
  expect([path, parsed(encode(texts, []))]).toEqual(['/embed', { inputs: texts }]);
  expect(
    vectors(
      json([
        [1, 2],
        [3, 4],
      ]),
      {},
    ),
  ).toEqual([
    [1, 2],
    [3, 4],
  ]);
  expect(() => vectors(json({ error: 'x' }), {})).toThrow();
});

test('OpenAI', () => {
  const { encode, vectors, path } = wire('openai');
  expect([path, parsed(encode(texts, []))]).toEqual([
    '/v1/embeddings',
    { model: 'org/mini lm', input: texts },
  ]);
  expect(vectors(json({ object: 'list', data: [{ index: 0, embedding: [1] }] }), {})).toEqual([[1]]);
});

describe('KServe', () => {
  test('with texts', () => {
    const { encode, path } = wire('kserve');
    expect(path).toBe('/v2/models/org/mini%20lm/infer');
    expect(parsed(encode(texts, []))).toEqual({
      inputs: [{ name: 'TEXT', datatype: 'BYTES', shape: [2, 1], data: texts }],
      parameters: { binary_data_output: true },
    });
  });

  test('with token ids, padded to the longest', () => {
    expect(parsed(wire('kserve', 'ids').encode(texts, [[5, 6, 7], [8]]))).toMatchObject({
      inputs: [
        { name: 'input_ids', datatype: 'INT64', shape: [2, 3], data: [5, 6, 7, 8, 0, 0] },
        { name: 'attention_mask', datatype: 'INT64', shape: [2, 3], data: [1, 1, 1, 1, 0, 0] },
        { name: 'token_type_ids', datatype: 'INT64', shape: [2, 3], data: [0, 0, 0, 0, 0, 0] },
      ],
    });
  });

  test('answers in JSON, and in bytes behind it', () => {
    const { vectors } = wire('kserve');
    const output = { name: 'E', datatype: 'FP32', shape: [2, 2] };
    expect(vectors(json({ outputs: [{ ...output, data: [1, 2, 3, 4] }] }), {})).toEqual([
      [1, 2],
      [3, 4],
    ]);
    const head = json({ outputs: [{ ...output, parameters: { binary_data_size: 16 } }] });
    const whole = Buffer.concat([head, packed(1, 2, 3, 4)]);
    const headers = { 'inference-header-content-length': String(head.length) };
    expect(rows(vectors(whole, headers))).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(() => vectors(json({ outputs: [{ ...output, data: [1, 2, 3] }] }), {})).toThrow(
      'output E has 3 numbers for the shape [2, 2]',
    );
  });
});

test.each([
  [[[1, 2]], 2, 2, 'the reply has 1 vectors for 2 texts'],
  [[[1, 2], [1]], 2, 2, 'vector 1 has 1 numbers instead of 2'],
  [[[1, 2], [1]], 2, undefined, 'vector 1 has 1 numbers instead of 2'],
  [[[1, Number.NaN]], 1, 2, 'number 1 of vector 0 is NaN'],
  [[[]], 1, undefined, 'vector 0 has 0 numbers instead of 0'],
  [
    [
      [1, 2],
      [3, 4],
    ],
    2,
    2,
    undefined,
  ],
])('%j is checked', (vectors, count, dimension, fault) => {
  expect(faultOf(vectors, { vectors: count, dimension })).toBe(fault);
});
