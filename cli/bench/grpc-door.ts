import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
} from 'node:http2';
import { DISCONNECTED, type Door, type DoorOptions, OK, UNANSWERED } from './door.ts';
import { failureOfTrailers, GRPC_HEADERS } from './grpc-words.ts';
import { whenConnected } from './http2-session.ts';

/** Bytes before each gRPC message: whether it is compressed, and its length. */
export const PREFIX_BYTES = 5;

/** The state of a call lies in its stream, so that one set of functions serves all of them. */
interface Call extends ClientHttp2Stream {
  slot: number;
  door: GrpcDoor;
  reason: string;
  message: string;
  chunks: Buffer[] | undefined;
}

/**
 * Unary gRPC calls, framed by hand over HTTP/2. A gRPC library costs the client more than twice the CPU for each call,
 * which it would take from the server that it measures.
 */
export class GrpcDoor implements Door {
  readonly #options: DoorOptions;
  readonly #headers: Record<string, string>;
  readonly #calls = new Set<Call>();
  #session: ClientHttp2Session | undefined;
  #isAbandoning = false;

  constructor(options: DoorOptions) {
    this.#options = options;
    this.#headers = { ...GRPC_HEADERS, ':path': options.path, ...options.headers };
  }

  async open(): Promise<void> {
    this.#session = await whenConnected(connect(this.#options.origin));
  }

  /** @param body the message behind its prefix, see `framed` */
  send(slot: number, body: Buffer, keep: boolean): void {
    // A server that was started again is found again.
    if (this.#session === undefined || this.#session.destroyed || this.#session.closed)
      this.#session = connect(this.#options.origin).on('error', ignore);
    const call = this.#session.request(this.#headers) as Call;
    call.slot = slot;
    call.door = this;
    call.reason = DISCONNECTED;
    call.message = '';
    call.chunks = undefined;
    if (keep) call.on('data', onData);
    else call.resume();
    call.on('response', onHeaders).on('trailers', onHeaders).on('error', onError).on('close', onClose);
    this.#calls.add(call);
    call.end(body);
  }

  abandon(): void {
    this.#isAbandoning = true;
    for (const call of this.#calls) call.destroy();
  }

  close(): void {
    this.#session?.close();
  }

  /** For the calls: this one is over. */
  over(call: Call): void {
    this.#calls.delete(call);
    const { slot, reason, message, chunks } = call;
    if (reason === OK && chunks !== undefined)
      this.#options.settled(slot, OK, {
        reply: { body: Buffer.concat(chunks).subarray(PREFIX_BYTES), headers: {} },
      });
    else if (reason === OK) this.#options.settled(slot, OK);
    else
      this.#options.settled(slot, reason === DISCONNECTED && this.#isAbandoning ? UNANSWERED : reason, {
        message,
      });
    if (this.#calls.size === 0) this.#isAbandoning = false;
  }
}

/** A gRPC message behind its prefix. */
export function framed(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, PREFIX_BYTES);
  return frame;
}

function onData(this: Call, chunk: Buffer): void {
  this.chunks ??= [];
  this.chunks.push(chunk);
}

/** An answer without a message has its status in its headers, others in their trailers. */
function onHeaders(this: Call, headers: IncomingHttpHeaders): void {
  if (headers['grpc-status'] === '0') this.reason = OK;
  else if (headers['grpc-status'] !== undefined || headers[':status'] !== '200') {
    const failure = failureOfTrailers(headers);
    // The headers of a call that goes well have neither.
    if (failure !== undefined) [this.reason, this.message] = [failure.reason, failure.message];
  }
}

function onError(this: Call, error: Error): void {
  this.message ||= error.message;
}

function onClose(this: Call): void {
  this.door.over(this);
}

/** What breaks a connection is told to each of its calls. */
function ignore(): void {}
