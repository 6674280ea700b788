import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import { CommandFailure } from '../exit-codes.ts';
import { runsFromSource } from '../package-root.ts';

/** The gRPC API of a running model server, for single calls. */
export class ModelServer implements Disposable {
  readonly address: string;
  readonly #client: Client;

  constructor(address: string) {
    this.address = address;
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.max_receive_message_length': 64 * 1024 * 1024,
    });
  }

  /**
   * One unary call.
   * @throws CommandFailure with the server's message, or how to start one when nobody answers
   */
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    timeoutMs = 10_000,
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest<MessageShape<I>, MessageShape<O>>(
        `/${method.parent.typeName}/${method.name}`,
        (value) => Buffer.from(toBinary(method.input, value)),
        (bytes) => fromBinary(method.output, bytes),
        create(method.input, request),
        new Metadata(),
        { deadline: Date.now() + timeoutMs },
        (error, reply) => {
          if (reply !== undefined && error === null) resolve(reply);
          else reject(this.#failure(error?.code, error?.details ?? 'no reply'));
        },
      );
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #failure(code: number | undefined, details: string): CommandFailure {
    if (code === status.UNAVAILABLE || code === status.DEADLINE_EXCEEDED) {
      const start = runsFromSource ? 'npm start' : 'nereid up';
      return new CommandFailure(
        `no model server answers at ${this.address} (${details}). Start it with: ${start}   (or name another address with --server-address)`,
      );
    }
    return new CommandFailure(`the model server at ${this.address} says: ${details}`);
  }
}
