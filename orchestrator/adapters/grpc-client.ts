import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { ServiceError } from '@grpc/grpc-js';
import { Client, connectivityState, credentials, Metadata } from '@grpc/grpc-js';
import type { Pool } from 'generic-pool';
import { createPool } from 'generic-pool';
import { RagError } from '../errors.ts';
import type { CallOptions } from '../ports.ts';
import { fromGrpcError } from './grpc-error.ts';

export interface GrpcClientOptions {
  /** host:port */
  address: string;
  /** TCP connections to hold at most. */
  connections: number;
  /** Calls that run at once on one connection; the server needs many at once to fill its batches. Default 32. */
  callsPerConnection?: number | undefined;
  /** Calls that may wait for a free place; one more is refused with QUEUE_FULL. Default 1,000. */
  maxWaitingCalls?: number | undefined;
  /** Milliseconds that one call may take, waiting for its place included. Default 60,000. */
  callTimeoutMs?: number | undefined;
  /** Bytes in one message, either way. Default 64 MiB. */
  maxMessageBytes?: number | undefined;
}

/** One connection, and how many places of the pool are on it. */
interface Connection {
  client: Client;
  seats: number;
  closed: boolean;
}

/** A place for one call on a connection that it shares with others: what the pool lends. */
interface Seat {
  connection: Connection;
}

/**
 * Unary calls over a bounded pool of connections. generic-pool lends exclusively, and a connection lent to one call
 * at a time would starve the server's batches; so it lends places, many of them on each connection. A place whose
 * connection is broken is thrown away on borrowing, and the fresh connection tries at once, without back-off.
 */
export class GrpcClient {
  readonly address: string;
  readonly #timeoutMs: number;
  readonly #channelOptions: Record<string, number>;
  readonly #connections: Connection[] = [];
  readonly #maxConnections: number;
  readonly #pool: Pool<Seat>;
  readonly #maxCalls: number;
  readonly #stop = new AbortController();
  /** Calls that run or wait for a place. */
  #calls = 0;
  #closing: Promise<void> | undefined;

  constructor(options: GrpcClientOptions) {
    const maxMessageBytes = options.maxMessageBytes ?? 64 * 1024 * 1024;
    this.address = options.address;
    this.#timeoutMs = options.callTimeoutMs ?? 60_000;
    this.#maxConnections = options.connections;
    this.#channelOptions = {
      // Without it every client of one address shares a single connection.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': maxMessageBytes,
      'grpc.max_send_message_length': maxMessageBytes,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 2_000,
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
    };
    const places = options.connections * (options.callsPerConnection ?? 32);
    this.#maxCalls = places + (options.maxWaitingCalls ?? 1_000);
    this.#pool = createPool<Seat>(
      {
        create: async () => this.#openSeat(),
        destroy: async (seat) => this.#closeSeat(seat),
        validate: async (seat) => isUsable(seat.connection),
      },
      {
        max: places,
        testOnBorrow: true,
        acquireTimeoutMillis: this.#timeoutMs,
      },
    );
  }

  /**
   * Makes one call.
   * @throws RagError MODEL_SERVER_UNAVAILABLE, MODEL_SERVER_REFUSED, QUEUE_FULL, SPACE_MISMATCH, INVALID_INPUT,
   * DEADLINE_EXCEEDED, CANCELLED, STOPPING
   */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    const signal = options.signal ? AbortSignal.any([options.signal, this.#stop.signal]) : this.#stop.signal;
    const deadline = Date.now() + this.#timeoutMs;
    if (this.#calls >= this.#maxCalls) throw this.#queueFull();
    this.#calls += 1;
    try {
      const seat = await this.#borrow(signal);
      try {
        return await this.#send(seat.connection.client, method, create(method.input, request), {
          signal,
          deadline,
          priority: options.priority ?? 'interactive',
        });
      } finally {
        await this.#pool.release(seat);
      }
    } finally {
      this.#calls -= 1;
    }
  }

  /** Takes no new call, waits for the running ones, and closes the connections. */
  close(): Promise<void> {
    this.#closing ??= this.#pool.drain().then(() => this.#pool.clear());
    return this.#closing;
  }

  /** Fails the running calls with STOPPING and closes the connections. */
  destroy(): Promise<void> {
    this.#stop.abort(stopping());
    return this.close();
  }

  async #borrow(signal: AbortSignal): Promise<Seat> {
    if (signal.aborted) throw RagError.from(signal.reason);
    if (this.#closing) throw stopping();
    const lent = this.#pool.acquire();
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(RagError.from(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([lent, aborted]);
    } catch (error) {
      lent.then(
        (seat) => this.#pool.release(seat),
        () => undefined,
      );
      throw error instanceof RagError ? error : this.#noPlace(error);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  #noPlace(error: unknown): RagError {
    const message = `No place for a call to the model server at ${this.address} came free within ${this.#timeoutMs} ms: all ${this.#pool.max} were busy.`;
    return new RagError('DEADLINE_EXCEEDED', message, { cause: error });
  }

  #queueFull(): RagError {
    const message = `${this.#calls} calls to the model server at ${this.address} run or wait already, which is the limit. Try again in a moment.`;
    return new RagError('QUEUE_FULL', message);
  }

  #send<I extends DescMessage, O extends DescMessage>(
    client: Client,
    method: DescMethodUnary<I, O>,
    message: MessageShape<I>,
    limits: { signal: AbortSignal; deadline: number; priority: string },
  ): Promise<MessageShape<O>> {
    const { signal, deadline, priority } = limits;
    const metadata = new Metadata();
    metadata.set('nereid-priority', priority);
    const { promise, resolve, reject } = Promise.withResolvers<MessageShape<O>>();
    if (signal.aborted) throw RagError.from(signal.reason);
    const call = client.makeUnaryRequest<MessageShape<I>, MessageShape<O>>(
      `/${method.parent.typeName}/${method.name}`,
      (value) => Buffer.from(toBinary(method.input, value)),
      (bytes) => fromBinary(method.output, bytes),
      message,
      metadata,
      { deadline },
      (error: ServiceError | null, reply) => {
        signal.removeEventListener('abort', onAbort);
        if (signal.aborted) reject(RagError.from(signal.reason));
        else if (error) reject(fromGrpcError(error, { address: this.address, timeoutMs: this.#timeoutMs }));
        else if (reply) resolve(reply);
        else reject(new RagError('INTERNAL', `gRPC gave neither a reply nor an error for ${method.name}.`));
      },
    );
    const onAbort = () => call.cancel();
    signal.addEventListener('abort', onAbort, { once: true });
    return promise;
  }

  #openSeat(): Seat {
    const usable = this.#connections.filter(isUsable).sort((a, b) => a.seats - b.seats);
    const least = usable[0];
    const connection =
      least && (usable.length >= this.#maxConnections || least.seats === 0) ? least : this.#connect();
    connection.seats += 1;
    return { connection };
  }

  #connect(): Connection {
    const client = new Client(this.address, credentials.createInsecure(), this.#channelOptions);
    const connection = { client, seats: 0, closed: false };
    this.#connections.push(connection);
    return connection;
  }

  #closeSeat({ connection }: Seat): void {
    connection.seats -= 1;
    if (connection.seats > 0) return;
    connection.closed = true;
    connection.client.close();
    this.#connections.splice(this.#connections.indexOf(connection), 1);
  }
}

/** A channel that lost its server backs off before it tries again; a new one tries at once. */
function isUsable({ client, closed }: Connection): boolean {
  if (closed) return false;
  const state = client.getChannel().getConnectivityState(false);
  return state !== connectivityState.SHUTDOWN && state !== connectivityState.TRANSIENT_FAILURE;
}

function stopping(): RagError {
  return new RagError(
    'STOPPING',
    'The orchestrator is shutting down and makes no more calls to the model server.',
  );
}
