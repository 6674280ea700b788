import { toBinary } from '@bufbuild/protobuf';
import {
  type Embedding,
  type EmbedResponse,
  EmbedResponseSchema,
  type EmbedStreamResponse,
  EmbedStreamResponseSchema,
  type ModelRef,
  ModelRefSchema,
  type Timings,
} from '../../../proto/gen/serving_pb.js';

// The replies that carry vectors, written into one buffer of the right size. The general way, by the descriptors, takes 5.5
// microseconds for a reply with one vector, most of them for buffers that grow; this takes 0.4, and a server on grpc-js
// has 10 to 100 for all of a message or call. The general way is what the test compares it with, byte for byte.

/** An EmbedResponse in protobuf's wire format. */
export function encodeEmbedResponse(message: EmbedResponse): Buffer {
  if (hasFloats(message)) return asBuffer(toBinary(EmbedResponseSchema, message));
  const writer = new Writer(Buffer.allocUnsafe(sizeOfResponse(message)));
  writeResponse(writer, message);
  return writer.buffer;
}

/** An EmbedStreamResponse in protobuf's wire format. */
export function encodeEmbedStreamResponse(message: EmbedStreamResponse): Buffer {
  const { correlationId, result } = message;
  if (result.case !== 'response' || hasFloats(result.value))
    return asBuffer(toBinary(EmbedStreamResponseSchema, message));
  const responseBytes = sizeOfResponse(result.value);
  const idBytes = Buffer.byteLength(correlationId);
  const writer = new Writer(
    Buffer.allocUnsafe(sizeOfString(idBytes) + 1 + varintBytes(responseBytes) + responseBytes),
  );
  writer.string(1, correlationId, idBytes);
  writer.nested(2, responseBytes);
  writeResponse(writer, result.value);
  return writer.buffer;
}

/** Lists of floats are rare, and so large that how they are written does not matter. */
function hasFloats({ embeddings }: EmbedResponse): boolean {
  for (const { values } of embeddings) if (values.length > 0) return true;
  return false;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function sizeOfResponse({ model, dimension, embeddings, timings }: EmbedResponse): number {
  let size = sizeOfNumber(dimension);
  if (model !== undefined) size += sizeOfNested(bytesOfModel(model).byteLength);
  for (const embedding of embeddings) size += sizeOfNested(sizeOfEmbedding(embedding));
  if (timings !== undefined) size += sizeOfNested(sizeOfTimings(timings));
  return size;
}

function writeResponse(writer: Writer, { model, dimension, embeddings, timings }: EmbedResponse): void {
  if (model !== undefined) writer.message(1, bytesOfModel(model));
  writer.number(2, dimension);
  for (const embedding of embeddings) {
    writer.nested(3, sizeOfEmbedding(embedding));
    writer.bytes(1, embedding.packed);
    writer.number(3, embedding.tokens);
    writer.number(4, embedding.tokensUsed);
    writer.number(5, Number(embedding.truncated));
    writer.number(6, Number(embedding.cached));
  }
  if (timings !== undefined) {
    writer.nested(4, sizeOfTimings(timings));
    writer.number(1, timings.queueUs);
    writer.number(2, timings.tokenizeUs);
    writer.number(3, timings.computeUs);
    writer.number(4, timings.postUs);
    writer.number(5, timings.totalUs);
  }
}

let lastModel: { model: ModelRef; bytes: Uint8Array } | undefined;

/** One version answers many requests, and its names are a third of what there is to write beside a vector. */
function bytesOfModel(model: ModelRef): Uint8Array {
  const last = lastModel?.model;
  const isSame = last?.space === model.space && last.version === model.version && last.name === model.name;
  if (!isSame) lastModel = { model, bytes: toBinary(ModelRefSchema, model) };
  return lastModel!.bytes;
}

function sizeOfEmbedding({ packed, tokens, tokensUsed, truncated, cached }: Embedding): number {
  const flags = (truncated ? 2 : 0) + (cached ? 2 : 0);
  return sizeOfString(packed.byteLength) + sizeOfNumber(tokens) + sizeOfNumber(tokensUsed) + flags;
}

function sizeOfTimings({ queueUs, tokenizeUs, computeUs, postUs, totalUs }: Timings): number {
  return (
    sizeOfNumber(queueUs) +
    sizeOfNumber(tokenizeUs) +
    sizeOfNumber(computeUs) +
    sizeOfNumber(postUs) +
    sizeOfNumber(totalUs)
  );
}

/** Of a field; what is 0 or empty is not written. All fields here have numbers below 16, so that a tag is one byte. */
function sizeOfNumber(value: number): number {
  return value === 0 ? 0 : 1 + varintBytes(value);
}

function sizeOfString(bytes: number): number {
  return bytes === 0 ? 0 : sizeOfNested(bytes);
}

function sizeOfNested(bytes: number): number {
  return 1 + varintBytes(bytes) + bytes;
}

function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  return value < 0x10000000 ? 4 : 5;
}

const VARINT = 0;
const LENGTH_DELIMITED = 2;

/** Fields one after the other into a buffer that has room for exactly them. */
class Writer {
  readonly buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.buffer = buffer;
  }

  number(field: number, value: number): void {
    if (value === 0) return;
    this.buffer[this.#at++] = (field << 3) | VARINT;
    this.#varint(value);
  }

  string(field: number, text: string, bytes: number): void {
    if (bytes === 0) return;
    this.nested(field, bytes);
    this.buffer.write(text, this.#at);
    this.#at += bytes;
  }

  bytes(field: number, bytes: Uint8Array): void {
    if (bytes.byteLength > 0) this.message(field, bytes);
  }

  /** A message that has been written before; one without fields is written as well. */
  message(field: number, bytes: Uint8Array): void {
    this.nested(field, bytes.byteLength);
    this.buffer.set(bytes, this.#at);
    this.#at += bytes.byteLength;
  }

  /** The head of a message of this many bytes, whose fields are to follow. */
  nested(field: number, bytes: number): void {
    this.buffer[this.#at++] = (field << 3) | LENGTH_DELIMITED;
    this.#varint(bytes);
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.buffer[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.buffer[this.#at++] = rest;
  }
}
