import { create, fromBinary, fromJson, type JsonValue, toBinary, toJsonString } from '@bufbuild/protobuf';
import {
  type EmbedRequest,
  EmbedRequestSchema,
  type EmbedResponse,
  EmbedResponseSchema,
  EmbedService,
} from '../../proto/gen/serving_pb.js';
import type { Wire } from './wire.ts';

const SERVICE = `/${EmbedService.typeName}`;
/** Where calls and streams of EmbedService go. */
export const EMBED_PATH = `${SERVICE}/Embed`;
export const EMBED_STREAM_PATH = `${SERVICE}/EmbedStream`;

/** Nothing may come from a cache: what is measured is the model. */
const embedRequest = (model: string, texts: readonly string[]): EmbedRequest =>
  create(EmbedRequestSchema, { model, inputs: [...texts], noCache: true });

/** Nereid's own messages, bare: for gRPC, which frames them, and for Connect with application/proto. */
export function protoWire(model: string): Wire {
  return {
    path: EMBED_PATH,
    headers: { 'content-type': 'application/proto', 'connect-protocol-version': '1' },
    encode: (texts) => toBinary(EmbedRequestSchema, embedRequest(model, texts)),
    vectors: (reply) => vectorsOf(fromBinary(EmbedResponseSchema, reply)),
  };
}

/** Nereid's messages as JSON over the Connect protocol. */
export function connectJsonWire(model: string): Wire {
  return {
    path: EMBED_PATH,
    headers: { 'content-type': 'application/json', 'connect-protocol-version': '1' },
    encode: (texts) => Buffer.from(toJsonString(EmbedRequestSchema, embedRequest(model, texts))),
    vectors: (reply) => vectorsOf(fromJson(EmbedResponseSchema, JSON.parse(reply.toString()) as JsonValue)),
  };
}

/** The vectors of a reply, whichever way they are encoded. */
export function vectorsOf({ embeddings }: EmbedResponse): ArrayLike<number>[] {
  return embeddings.map(({ packed, values }) => (packed.length > 0 ? floats(packed) : values));
}

/** Little-endian float32, wherever it starts. */
export function floats(bytes: Uint8Array): Float32Array {
  // A copy, as floats must start at a multiple of four; a Buffer's own slice() would be none.
  return new Float32Array(new Uint8Array(bytes).buffer);
}
