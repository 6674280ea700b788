import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import { readOnnxFile } from '../../model-server/models/repository/onnx-file.ts';
import { hasShared, shared } from '../shared.ts';
import { onnxModel } from './onnx-message.ts';
import { tensorModel, textEncoder } from './onnx-writer.ts';
import { shippedRepository, temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(() => {
  for (const undo of cleanUp.splice(0).reverse()) undo();
});

function fileOf(bytes: Uint8Array): string {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  writeFileSync(join(path, 'model.onnx'), bytes);
  return join(path, 'model.onnx');
}

describe('the header of an ONNX file', () => {
  it('of the shipped model is read', async () => {
    const path = join(shippedRepository, 'all-minilm-l6-v2', '1', 'model.onnx');
    expect(await readOnnxFile(path)).toEqual({
      complete: true,
      irVersion: 9,
      opset: 20,
      inputs: ['input_ids', 'attention_mask', 'token_type_ids'].map((name) => ({
        name,
        dataType: 'INT64',
        shape: [-1, -1],
        ranked: true,
      })),
      outputs: [{ name: 'last_hidden_state', dataType: 'FP32', shape: [-1, -1, 384], ranked: true }],
      weightBytes: 1117436 + 104 + 22337280 + 1,
      weightBytesByType: { FP32: 1117436, INT64: 104, INT8: 22337280, UINT8: 1 },
      fileBytes: 23481039,
      externalFiles: [],
    });
  });

  it.runIf(hasShared)('of an fp32 model and of an image encoder is read', async () => {
    expect(await readOnnxFile(shared('models', 'all-minilm-l6-v2', 'model.onnx'))).toMatchObject({
      opset: 17,
      weightBytesByType: { FP32: 90261608 },
    });
    expect(await readOnnxFile(shared('models', 'tiny-clip', 'vision_model.onnx'))).toMatchObject({
      inputs: [{ name: 'pixel_values', dataType: 'FP32', shape: [-1, 3, 224, 224] }],
      outputs: [{ name: 'image_embeds', dataType: 'FP32', shape: [-1, 32] }],
    });
  });

  it('tells fixed and free dimensions, and strings', async () => {
    expect(await readOnnxFile(fileOf(tensorModel({ dims: [2, 'any', 4] })))).toMatchObject({
      inputs: [
        { name: 'x', dataType: 'FP32', shape: [2, -1, 4] },
        { name: 'n', dataType: 'INT64' },
        { name: 's', dataType: 'BYTES' },
      ],
      weightBytesByType: { FP32: 4 },
    });
  });

  it('leaves out inputs that have a value already', async () => {
    const port = { element: 'FP32', dims: ['batch', 1] } as const;
    const model = onnxModel({
      nodes: [{ type: 'Add', inputs: ['x', 'b'], outputs: ['y'] }],
      weights: [{ name: 'b', element: 'FP32', dims: [1], data: new Uint8Array(4) }],
      inputs: [
        { ...port, dims: ['batch', 1], name: 'x' },
        { element: 'FP32', dims: [1], name: 'b' },
      ],
      outputs: [{ ...port, dims: ['batch', 1], name: 'y' }],
    });
    expect(await readOnnxFile(fileOf(model))).toMatchObject({ inputs: [{ name: 'x' }] });
  });

  it('counts weights in other files, and says how long these must be', async () => {
    const data = new Uint8Array(4000);
    const weights = [0, 4096].map((offset) => ({
      name: `w${offset}`,
      element: 'FP16' as const,
      dims: [2000],
      data,
      external: { file: 'weights.bin', offset },
    }));
    const path = fileOf(onnxModel({ nodes: [], weights, inputs: [], outputs: [] }));
    expect(await readOnnxFile(path)).toMatchObject({
      weightBytes: 8000,
      weightBytesByType: { FP16: 8000 },
      fileBytes: readFileSync(path).length + 8096,
      externalFiles: [{ file: 'weights.bin', bytes: 8096 }],
    });
  });

  it.each(['../weights.bin', '/etc/passwd', 'a/../../b', 'C:\\weights.bin', '..\\b', ''])(
    'is refused when its weights lie in %j',
    async (file) => {
      const error = await readOnnxFile(fileOf(textEncoder({ external: file }))).catch(
        (thrown: unknown) => thrown,
      );
      expect(error).toBeInstanceOf(ServingError);
      expect(error).toMatchObject({
        reason: 'MODEL_CONFIG_INVALID',
        message: expect.stringContaining('outside of the version folder'),
      });
    },
  );

  it('is refused when an input is no tensor', async () => {
    const writer = new BinaryWriter();
    const bytes = (number: number) => writer.tag(number, WireType.LengthDelimited);
    bytes(7).fork();
    bytes(11).fork();
    bytes(1).string('list');
    // A TypeProto of a sequence.
    bytes(2).bytes(Uint8Array.of(0x22, 0x00));
    writer.join().join();
    bytes(8).bytes(Uint8Array.of(0x10, 0x11));
    await expect(readOnnxFile(fileOf(writer.finish()))).rejects.toThrow(/its input list is no tensor/);
  });
});

describe('a file that is not whole', () => {
  it('is recognised at every length', async () => {
    const whole = textEncoder({ labels: 1, neighbours: true });
    const path = fileOf(whole);
    expect(await readOnnxFile(path)).toMatchObject({ complete: true });
    for (let length = whole.length - 1; length >= 0; length -= 7) {
      truncateSync(path, length);
      expect(await readOnnxFile(path)).toEqual({
        complete: false,
        why: expect.stringMatching(/^not a whole ONNX file: ./),
      });
    }
  });

  const others: [string, Uint8Array, RegExp][] = [
    ['empty', new Uint8Array(), /0 bytes and no graph/],
    ['room set aside', new Uint8Array(100_000), /no field at byte 0/],
    ['a web page', Buffer.from('<!DOCTYPE html><html></html>'), /./],
    [
      'a pointer to a large file',
      Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:0\n'),
      /./,
    ],
    [
      'a length beyond all bounds',
      Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
      /more than there are/,
    ],
    ['a number without end', new Uint8Array(30).fill(0xff), /a number is cut off/],
  ];
  it.each(others)('is recognised when it is %s', async (_, bytes, why) => {
    expect(await readOnnxFile(fileOf(bytes))).toMatchObject({
      complete: false,
      why: expect.stringMatching(why),
    });
  });

  it('is recognised when a tensor has other bytes than its shape needs', async () => {
    const weights = [{ name: 'w', element: 'FP32' as const, dims: [3], data: new Uint8Array(8) }];
    const path = fileOf(onnxModel({ nodes: [], weights, inputs: [], outputs: [] }));
    expect(await readOnnxFile(path)).toMatchObject({
      why: expect.stringMatching(/weights w have 8 bytes.*needs 12/),
    });
  });

  it('never makes the reader throw anything else', async () => {
    const whole = textEncoder();
    const path = fileOf(whole);
    const damage = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(damage, async (bytes) => {
        const damaged = Uint8Array.from(whole);
        for (const [at, value] of bytes) damaged[at] = value;
        writeFileSync(path, damaged);
        const result: unknown = await readOnnxFile(path).catch((thrown: unknown) => thrown);
        if (result instanceof Error) expect(result).toBeInstanceOf(ServingError);
      }),
      { numRuns: 300 },
    );
  });
});
