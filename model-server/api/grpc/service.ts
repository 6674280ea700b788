import {
  type DescMessage,
  type DescService,
  fromBinary,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { ServingError } from '../../errors.ts';

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

/** A service as @grpc/grpc-js wants it, from its @bufbuild/protobuf descriptor. */
export function toServiceDefinition(service: DescService): ServiceDefinition {
  const entries = service.methods.map((method): [string, MethodDefinition<unknown, unknown>] => [
    method.localName,
    {
      path: `/${service.typeName}/${method.name}`,
      requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
      responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
      requestSerialize: (message) => encode(method.input, message as MessageShape<DescMessage>),
      requestDeserialize: (bytes) => decode(method.input, bytes),
      responseSerialize: (message) => encode(method.output, message as MessageShape<DescMessage>),
      responseDeserialize: (bytes) => decode(method.output, bytes),
    },
  ]);
  return Object.fromEntries(entries);
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
