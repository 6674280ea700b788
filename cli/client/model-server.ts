import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { CommandFailure } from '../exit-codes.ts';
import { runsFromSource } from '../package-root.ts';

/** The gRPC API of a running model server, for single calls. */
export class ModelServer implements Disposable {
  readonly address: string;
  readonly #client: Client;
  readonly #metadata = new Metadata();

  /** @param adminKey goes along with every call; empty: none */
  constructor(address: string, adminKey = '') {
    this.address = address;
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.max_receive_message_length': 64 * 1024 * 1024,
    });
    if (adminKey !== '') this.#metadata.set('authorization', `Bearer ${adminKey}`);
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
        this.#metadata,
        { deadline: Date.now() + timeoutMs },
        (error, reply) => {
          if (reply !== undefined && error === null) resolve(reply);
          else reject(this.#failure(error, timeoutMs));
        },
      );
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #failure(error: ServiceError | null, timeoutMs: number): CommandFailure {
    const details = error?.details ?? 'no reply';
    // A server that answers names its reason; without one nobody has answered.
    const answered = (error?.metadata.get('nereid-reason').length ?? 0) > 0;
    if (!answered && error?.code === status.UNAVAILABLE) {
      const start = runsFromSource ? 'npm start' : 'nereid up';
      return new CommandFailure(
        `no model server answers at ${this.address} (${details}). Start it with: ${start}   (or name another address with --server-address)`,
      );
    }
    if (!answered && error?.code === status.DEADLINE_EXCEEDED)
      return new CommandFailure(
        `the model server at ${this.address} has not answered within ${timeoutMs / 1000} s. Is it one? If so, it may still be at work on this.`,
      );
    return new CommandFailure(`the model server at ${this.address} says: ${details}`);
  }
}
