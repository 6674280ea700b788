import {
  type DescMessage,
  type DescService,
  fromBinary,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { EmbedResponseSchema, EmbedStreamResponseSchema } from '../../../proto/gen/serving_pb.js';
import { ServingError } from '../../errors.ts';
import { encodeEmbedResponse, encodeEmbedStreamResponse } from './encode-embeddings.ts';

/** A request that could not be read; handlers get it instead of the message, so that the answer says why. */
export class Undecodable {
  readonly error: ServingError;

  constructor(cause: unknown, type: string) {
    const what = cause instanceof Error ? cause.message : String(cause);
    this.error = new ServingError(
      'INVALID_INPUT',
      `the request is no valid ${type}: ${what}. Strings must be valid UTF-8.`,
      { cause },
    );
  }
}

/** Replies that are sent so often that how they are written matters. */
const encoders = new Map<DescMessage, (message: MessageShape<DescMessage>) => Buffer>([
  encoderOf(EmbedResponseSchema, encodeEmbedResponse),
  encoderOf(EmbedStreamResponseSchema, encodeEmbedStreamResponse),
]);

/** A service as @grpc/grpc-js wants it, from its @bufbuild/protobuf descriptor. */
export function toServiceDefinition(service: DescService): ServiceDefinition {
  const entries = service.methods.map((method): [string, MethodDefinition<unknown, unknown>] => {
    const encodeReply = encoders.get(method.output) ?? ((message) => encode(method.output, message));
    const definition = {
      path: `/${service.typeName}/${method.name}`,
      requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
      responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
      requestSerialize: (message: unknown) => encode(method.input, message as MessageShape<DescMessage>),
      requestDeserialize: (bytes: Buffer) => decode(method.input, bytes),
      responseSerialize: (message: unknown) => encodeReply(message as MessageShape<DescMessage>),
      responseDeserialize: (bytes: Buffer) => decode(method.output, bytes),
    };
    return [method.localName, definition];
  });
  return Object.fromEntries(entries);
}

/** Ties an encoder to its own message; in the map they are all alike. */
function encoderOf<Schema extends DescMessage>(
  schema: Schema,
  encodeMessage: (message: MessageShape<Schema>) => Buffer,
): [DescMessage, (message: MessageShape<DescMessage>) => Buffer] {
  return [schema, (message) => encodeMessage(message as MessageShape<Schema>)];
}

function encode(schema: DescMessage, message: MessageShape<DescMessage>): Buffer {
  const bytes = toBinary(schema, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function decode(schema: DescMessage, bytes: Buffer): MessageShape<DescMessage> | Undecodable {
  try {
    return fromBinary(schema, bytes);
  } catch (cause) {
    return new Undecodable(cause, schema.typeName);
  }
}
