import { describe, expect, it } from 'vitest';
import { checkTensors } from '../../model-server/scheduler/check-tensors.ts';
import { joinTensors, splitTensors, tensorKey } from '../../model-server/scheduler/tensor-call.ts';
import type { RawTensor, TensorSpec } from '../../model-server/types.ts';
import { blobs, floats, fp32 } from './raw-tensors.ts';

const specs: { inputs: TensorSpec[]; outputs: TensorSpec[] } = {
  inputs: [
    { name: 'x', dataType: 'FP32', shape: [-1, 2] },
    { name: 's', dataType: 'BYTES', shape: [-1, 1] },
  ],
  outputs: [
    { name: 'y', dataType: 'FP32', shape: [-1, 2] },
    { name: 'z', dataType: 'FP32', shape: [-1] },
  ],
};
const options = { owner: 'model m version 1', batched: true, maxRows: 4 };
const x = (rows: number, shape = [rows, 2]) => fp32('x', shape, Array(rows * 2).fill(0));
const s = (...strings: string[]): RawTensor => blobs('s', [strings.length, 1], strings);
const check = (inputs: RawTensor[], outputs: string[] = [], override = {}) =>
  checkTensors(specs, { inputs, outputs }, { ...options, ...override });

describe('checkTensors', () => {
  it('puts the inputs in the order of the model, and takes all outputs when none is named', () => {
    const call = check([s('a', 'b'), x(2)]);
    expect(call.inputs.map((input) => input.name)).toEqual(['x', 's']);
    expect(call).toMatchObject({ outputs: ['y', 'z'], rows: 2, joinable: true });
    expect(check([x(1), s('')], ['z']).outputs).toEqual(['z']);
  });

  const cut: RawTensor = { ...s('ab'), data: s('ab').data.subarray(0, 5) };
  const overlong: RawTensor = { ...s('ab'), data: Uint8Array.of(255, 255, 255, 255, 1) };
  const table: [string, RawTensor[], RegExp][] = [
    ['a missing input', [x(1)], /model m version 1: input s is missing; its inputs are x, s/],
    ['an unknown input', [x(1), s('a'), { ...x(1), name: 'q' }], /no input q; its inputs are x, s/],
    ['an input twice', [x(1), x(1), s('a')], /given twice/],
    [
      'another type',
      [{ ...x(1), dataType: 'INT32' }, s('a')],
      /input x is INT32 \[1, 2\], but the model takes FP32 \[-1, 2\]/,
    ],
    ['another dimension', [x(1, [2, 1]), s('a', 'b')], /x is FP32 \[2, 1\], but .* FP32 \[-1, 2\]/],
    ['another rank', [x(1, [2]), s('a')], /x is FP32 \[2\]/],
    ['a negative dimension', [x(1, [-1, 2]), s('a')], /whole numbers/],
    ['a fraction of a dimension', [x(1, [0.5, 2]), s('a')], /whole numbers/],
    ['a dimension beyond all bounds', [x(1, [2 ** 52, 2]), s('a')], /has 8 bytes, but .* takes/],
    ['too few bytes', [{ ...x(1), data: floats(1) }, s('a')], /x has 4 bytes, but FP32 \[1, 2\] takes 8/],
    ['a cut string', [x(1), cut], /s has 5 bytes, which are not the 1 length-prefixed elements/],
    ['a string longer than its tensor', [x(1), overlong], /s has 5 bytes/],
    ['bytes behind the last string', [x(1), { ...s('a', 'b'), shape: [1, 1] }], /not the 1 length/],
    ['more strings than bytes', [x(1), { ...s('a'), shape: [2 ** 50, 1] }], /not the 1125899906842624/],
    ['inputs of different rows', [x(2), s('a')], /s has 1 rows, but x has 2/],
    ['no rows', [x(0), s()], /has no rows/],
  ];
  it.each(table)('refuses %s', (_, inputs, message) => {
    expect(() => check(inputs)).toThrowError(
      expect.objectContaining({ reason: 'SHAPE_MISMATCH', message: expect.stringMatching(message) }),
    );
  });

  it('refuses strings that are not UTF-8 or hold a NUL: the caller is to blame, not the model', () => {
    const bad = blobs('s', [2, 1], ['é', Uint8Array.of(0xc3, 0x28)]);
    expect(() => check([x(2), bad])).toThrowError(
      expect.objectContaining({
        reason: 'INVALID_INPUT',
        message: 'model m version 1: element 1 of input s is not UTF-8.',
      }),
    );
    // Its parts would be UTF-8 only together.
    const halves = blobs('s', [2, 1], [Uint8Array.of(0xc3), Uint8Array.of(0xa9)]);
    expect(() => check([x(2), halves])).toThrowError(/element 0/);
    expect(() => check([x(2), s('a', 'b\0c')])).toThrowError(
      expect.objectContaining({
        reason: 'INVALID_INPUT',
        message: expect.stringMatching(/element 1 .* NUL/),
      }),
    );
  });

  it('refuses more rows than the limit, unknown outputs, and outputs named twice', () => {
    expect(() => check([x(5), s('a', 'b', 'c', 'd', 'e')])).toThrowError(
      expect.objectContaining({ reason: 'BATCH_TOO_LARGE', message: expect.stringMatching(/5 rows.*the 4/) }),
    );
    for (const outputs of [['w'], ['y', 'y']])
      expect(() => check([x(1), s('a')], outputs)).toThrowError(
        expect.objectContaining({ reason: 'INVALID_INPUT' }),
      );
  });

  it('joins only what has a batch dimension of any length', () => {
    const rows = [x(1), s('a')];
    expect(check(rows, [], { batched: false })).toMatchObject({ rows: 1, joinable: false });
    const fixed = (input: number[], output: number[]) =>
      checkTensors(
        {
          inputs: [{ name: 'x', dataType: 'FP32', shape: input }],
          outputs: [{ name: 'y', dataType: 'FP32', shape: output }],
        },
        { inputs: [x(1)], outputs: [] },
        options,
      ).joinable;
    expect(fixed([-1, 2], [-1, 2])).toBe(true);
    expect(fixed([1, 2], [-1, 2])).toBe(false);
    expect(fixed([-1, 2], [1])).toBe(false);
    expect(fixed([], [])).toBe(false);
  });

  it('takes tensors without elements and scalars', () => {
    const scalar = { inputs: [{ name: 'x', dataType: 'FP32' as const, shape: [] }], outputs: [] };
    const alone = { ...options, batched: false };
    const one = checkTensors(scalar, { inputs: [fp32('x', [], [7])], outputs: [] }, alone);
    expect(one.inputs[0]!.shape).toEqual([]);
    const flat = Array<number>(33).fill(1);
    expect(() => checkTensors(scalar, { inputs: [fp32('x', flat, [7])], outputs: [] }, alone)).toThrow(
      /33 dim/,
    );
    expect(check([x(0, [0, 2]), s()], [], { batched: false }).inputs[0]!.data.byteLength).toBe(0);
  });
});

describe('joining and splitting', () => {
  const calls = [
    check([fp32('x', [1, 2], [1, 2]), s('a')]),
    check([fp32('x', [2, 2], [3, 4, 5, 6]), s('', 'bcd')]),
  ];

  it('what is joined and split again is what it was', () => {
    const batch = joinTensors(calls);
    expect(batch).toMatchObject({ rows: 3, outputs: ['y', 'z'] });
    expect(batch.inputs.map((input) => input.shape)).toEqual([
      [3, 2],
      [3, 1],
    ]);
    expect(new Float32Array(batch.inputs[0]!.data.buffer)).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6));
    const split = splitTensors(batch.inputs, [1, 2]);
    for (const [index, call] of calls.entries())
      for (const [at, input] of call.inputs.entries()) {
        expect(split[index]![at]!.shape).toEqual(input.shape);
        expect(Array.from(split[index]![at]!.data)).toEqual(Array.from(input.data));
      }
  });

  it('owns its bytes, so that they can be moved', () => {
    const large = new Uint8Array(1000);
    const view = { ...fp32('x', [1, 2], [0, 0]), data: large.subarray(8, 16) };
    const [input] = joinTensors([check([view, s('a')])]).inputs;
    expect(input!.data.buffer.byteLength).toBe(8);
  });

  it('an output without a row for each that went in can not be split', () => {
    expect(() => splitTensors([fp32('y', [2], [1, 2])], [1, 2])).toThrow(/batch of 3 has shape \[2\]/);
    expect(splitTensors([fp32('y', [7], Array(7).fill(0))], [2])).toHaveLength(1);
  });

  it('calls of another type, shape or wanted output have another key; values and rows do not count', () => {
    const key = (input: RawTensor, outputs = ['y']) =>
      tensorKey({ inputs: [input], outputs, rows: 1, joinable: true });
    const one = key(fp32('x', [1, 2], [1, 2]));
    expect(key(fp32('x', [3, 2], Array(6).fill(9)))).toBe(one);
    const others = [
      key(fp32('x', [1, 3], [1, 2, 3])),
      key({ ...fp32('x', [1, 2], [1, 2]), dataType: 'INT32' }),
      key(fp32('q', [1, 2], [1, 2])),
      key(fp32('x', [1, 2], [1, 2]), ['z']),
      key(fp32('x', [1, 2, 1], [1, 2])),
    ];
    expect(new Set([one, ...others]).size).toBe(6);
  });
});
