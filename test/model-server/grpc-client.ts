import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { type CallOptions, Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';

/** The whole of a failed call that a test looks at. */
export interface Failed {
  code: number;
  details: string;
  reason: string | undefined;
}

export interface TestCallOptions extends CallOptions {
  signal?: AbortSignal;
  metadata?: Record<string, string>;
}

/** A gRPC client over a real socket, for tests. */
export class TestClient {
  readonly raw: Client;

  constructor(port: number) {
    this.raw = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
    });
  }

  /** @throws Failed */
  async call<I extends DescMessage, O extends DescMessage>(
    path: string,
    [input, output]: [I, O],
    message: MessageInitShape<I> | Buffer,
    { metadata = {}, ...options }: TestCallOptions = {},
  ): Promise<MessageShape<O>> {
    const sent = metadataOf(metadata);
    return new Promise((resolve, reject) => {
      const call = this.raw.makeUnaryRequest(
        path,
        (request: MessageInitShape<I> | Buffer) =>
          Buffer.isBuffer(request) ? request : Buffer.from(toBinary(input, create(input, request))),
        (reply) => fromBinary(output, reply),
        message,
        sent,
        options,
        (error, reply) => (error === null ? resolve(reply!) : reject(failed(error))),
      );
      options.signal?.addEventListener('abort', () => call.cancel());
    });
  }

  /** The same, by the method's descriptor. @throws Failed */
  ask<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    message: MessageInitShape<I>,
    options: TestCallOptions = {},
  ): Promise<MessageShape<O>> {
    const path = `/${method.parent.typeName}/${method.name}`;
    return this.call(path, [method.input, method.output], message, options);
  }

  close(): void {
    this.raw.close();
  }
}

/** Metadata of these entries. */
export function metadataOf(entries: Record<string, string>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(entries)) metadata.set(name, value);
  return metadata;
}

function failed(error: ServiceError): Failed {
  return {
    code: error.code,
    details: error.details,
    reason: error.metadata.get('nereid-reason')[0]?.toString(),
  };
}
