import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { inputTensors } from '../../model-server/api/grpc/kserve-tensors.ts';
import { ServingError } from '../../model-server/errors.ts';
import { ModelInferRequestSchema } from '../../proto/gen/inference_pb.js';

const types = ['BOOL', 'UINT8', 'INT16', 'INT64', 'UINT64', 'FP16', 'FP32', 'FP64', 'BYTES', 'TEXT', ''];
const small = fc.array(fc.integer({ min: -3, max: 70_000 }), { maxLength: 5 });
const contents = fc.record(
  {
    boolContents: fc.array(fc.boolean(), { maxLength: 5 }),
    intContents: small,
    int64Contents: fc.array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { maxLength: 5 }),
    uintContents: fc.array(fc.nat(70_000), { maxLength: 5 }),
    fp32Contents: fc.array(fc.float(), { maxLength: 5 }),
    bytesContents: fc.array(fc.uint8Array({ maxLength: 4 }), { maxLength: 5 }),
  },
  { requiredKeys: [] },
);
const input = fc.record(
  {
    name: fc.string(),
    datatype: fc.constantFrom(...types),
    shape: fc.array(fc.oneof(fc.bigInt({ min: -2n, max: 6n }), fc.constant(2n ** 62n)), { maxLength: 4 }),
    contents,
  },
  { requiredKeys: ['name', 'datatype', 'shape'] },
);

test('whatever comes over the wire is a tensor that fits its shape, or refused by a reason', () => {
  const request = fc.record({
    inputs: fc.array(input, { maxLength: 3 }),
    rawInputContents: fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(request, (message) => {
      const bytes = toBinary(ModelInferRequestSchema, create(ModelInferRequestSchema, message));
      try {
        for (const tensor of inputTensors(fromBinary(ModelInferRequestSchema, bytes)))
          expect(tensor.shape.every((length) => Number.isSafeInteger(length) && length >= 0)).toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(ServingError);
        expect(['INVALID_INPUT', 'SHAPE_MISMATCH']).toContain((error as ServingError).reason);
      }
    }),
    { numRuns: 2000 },
  );
});

test('strings keep their bytes and their number', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 20 }), (elements) => {
      const shape = [BigInt(elements.length)];
      const typed = { name: 's', datatype: 'BYTES', shape, contents: { bytesContents: elements } };
      const [tensor] = inputTensors(create(ModelInferRequestSchema, { inputs: [typed] }));
      const view = Buffer.from(tensor!.data);
      const read: number[][] = [];
      for (let at = 0; at < view.length; at += 4 + view.readUInt32LE(at))
        read.push([...view.subarray(at + 4, at + 4 + view.readUInt32LE(at))]);
      expect(read).toEqual(elements.map((element) => [...element]));
      const raw = { inputs: [{ name: 's', datatype: 'BYTES', shape }], rawInputContents: [tensor!.data] };
      expect(inputTensors(create(ModelInferRequestSchema, raw))[0]!.data).toEqual(tensor!.data);
    }),
  );
});
