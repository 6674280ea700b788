import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  encodeEmbedResponse,
  encodeEmbedStreamResponse,
} from '../../model-server/api/grpc/encode-embeddings.ts';
import { EmbedResponseSchema, EmbedStreamResponseSchema } from '../../proto/gen/serving_pb.js';

/** Lengths of all varints, and the ends of each. */
const uint32 = fc.oneof(
  fc.constantFrom(0, 1, 127, 128, 16_383, 16_384, 2 ** 21, 2 ** 28, 2 ** 32 - 1),
  fc.nat(),
);
const text = fc.oneof(
  fc.constantFrom('', 'all-minilm-l6-v2', 'x'.repeat(200)),
  fc.string({ unit: 'grapheme' }),
);
const embedding = fc.record({
  packed: fc.uint8Array({ maxLength: 300 }),
  // Rarely: these are left to the general way.
  values: fc.oneof({ weight: 9, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: fc.array(fc.float()) }),
  tokens: uint32,
  tokensUsed: uint32,
  truncated: fc.boolean(),
  cached: fc.boolean(),
});
const response = fc.record({
  model: fc.option(fc.record({ name: text, version: uint32, space: text }), { nil: undefined }),
  dimension: uint32,
  embeddings: fc.array(embedding, { maxLength: 4 }),
  timings: fc.option(
    fc.record({ queueUs: uint32, tokenizeUs: uint32, computeUs: uint32, postUs: uint32, totalUs: uint32 }),
    { nil: undefined },
  ),
}) as fc.Arbitrary<MessageInitShape<typeof EmbedResponseSchema>>;

it('replies are the same bytes as those of the descriptors', () => {
  fc.assert(
    fc.property(response, text, (init, correlationId) => {
      const message = create(EmbedResponseSchema, init);
      expect(encodeEmbedResponse(message)).toEqual(Buffer.from(toBinary(EmbedResponseSchema, message)));
      const value = { ...message };
      for (const result of [{ case: 'response' as const, value }, { case: undefined }]) {
        const streamed = create(EmbedStreamResponseSchema, { correlationId, result });
        expect(encodeEmbedStreamResponse(streamed)).toEqual(
          Buffer.from(toBinary(EmbedStreamResponseSchema, streamed)),
        );
      }
    }),
    { numRuns: 500 },
  );
});

it('a vector of thousands of floats, and a failure', () => {
  const packed = new Uint8Array(20_000).fill(7);
  const message = create(EmbedResponseSchema, {
    embeddings: [{ packed }, { packed: packed.subarray(3, 5) }],
  });
  expect(encodeEmbedResponse(message)).toEqual(Buffer.from(toBinary(EmbedResponseSchema, message)));
  const failed = create(EmbedStreamResponseSchema, {
    correlationId: '7',
    result: { case: 'error', value: { reason: 'INTERNAL', message: 'boom', grpcCode: 13 } },
  });
  expect(encodeEmbedStreamResponse(failed)).toEqual(Buffer.from(toBinary(EmbedStreamResponseSchema, failed)));
});
