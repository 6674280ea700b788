import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
} from 'node:http2';
import { fromBinary } from '@bufbuild/protobuf';
import { EmbedStreamResponseSchema } from '../../proto/gen/serving_pb.js';
import { DISCONNECTED, type Door, type DoorOptions, OK, UNANSWERED } from './door.ts';
import { PREFIX_BYTES } from './grpc-door.ts';
import { failureOfTrailers, GRPC_HEADERS } from './grpc-words.ts';
import { whenConnected } from './http2-session.ts';

/** Digits of a correlation id, which is the slot. */
const ID_BYTES = 8;
const ID_TAG = 0x0a;
const MESSAGE_TAG = 0x12;
const ERROR_TAG = 0x1a;

/** One long EmbedStream. Of a reply only its correlation id is read. */
export class StreamDoor implements Door {
  readonly #options: DoorOptions;
  /** Whether the reply is wanted, by slot. */
  readonly #inFlight = new Map<number, boolean>();
  #session: ClientHttp2Session | undefined;
  #stream: ClientHttp2Stream | undefined;
  /** Bytes of messages that are not whole yet. */
  #rest: Buffer = Buffer.alloc(0);
  #failure = { reason: DISCONNECTED, message: 'the stream ended' };

  constructor(options: DoorOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    this.#session = await whenConnected(connect(this.#options.origin));
  }

  /** @param body the bare EmbedRequest */
  send(slot: number, body: Buffer, keep: boolean): void {
    const isFirst = this.#inFlight.size === 0;
    this.#inFlight.set(slot, keep);
    if (this.#stream === undefined || this.#stream.closed) this.#stream = this.#start();
    // What one turn of the event loop sends leaves in one packet.
    if (isFirst) this.#stream.cork();
    if (isFirst) process.nextTick(() => this.#stream?.uncork());
    this.#stream.write(streamFrame(slot, body));
  }

  abandon(): void {
    this.#failure = { reason: UNANSWERED, message: '' };
    this.#stream?.destroy();
  }

  close(): void {
    this.#stream?.end();
    this.#session?.close();
  }

  #start(): ClientHttp2Stream {
    if (this.#session === undefined || this.#session.destroyed || this.#session.closed)
      this.#session = connect(this.#options.origin).on('error', () => undefined);
    this.#rest = Buffer.alloc(0);
    this.#failure = { reason: DISCONNECTED, message: 'the stream ended' };
    const headers = { ...GRPC_HEADERS, ':path': this.#options.path, ...this.#options.headers };
    const stream = this.#session.request(headers);
    const note = (answer: IncomingHttpHeaders) => {
      this.#failure = failureOfTrailers(answer) ?? this.#failure;
    };
    stream.on('response', note).on('trailers', note);
    stream.on('error', (error: Error) => (this.#failure.message = error.message));
    stream.on('data', (chunk: Buffer) => this.#read(chunk));
    stream.on('close', () => this.#failAll());
    return stream;
  }

  #read(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (bytes.length - at >= PREFIX_BYTES) {
      const end = at + PREFIX_BYTES + bytes.readUInt32BE(at + 1);
      if (end > bytes.length) break;
      this.#answer(bytes.subarray(at + PREFIX_BYTES, end));
      at = end;
    }
    this.#rest = bytes.subarray(at);
  }

  #answer(message: Buffer): void {
    const start = 2 + message[1]!;
    const slot = message[0] === ID_TAG ? Number(message.toString('latin1', 2, start)) : Number.NaN;
    const keep = this.#inFlight.get(slot);
    if (keep === undefined) return;
    this.#inFlight.delete(slot);
    if (message[start] !== ERROR_TAG && !keep) {
      this.#options.settled(slot, OK);
      return;
    }
    const { result } = fromBinary(EmbedStreamResponseSchema, message);
    if (result.case === 'error')
      this.#options.settled(slot, result.value.reason, { message: result.value.message });
    else {
      const body = responseIn(message.subarray(start));
      this.#options.settled(slot, OK, { reply: { body, headers: {} } });
    }
  }

  #failAll(): void {
    const slots = [...this.#inFlight.keys()];
    this.#inFlight.clear();
    const { reason, message } = this.#failure;
    for (const slot of slots) this.#options.settled(slot, reason, { message });
  }
}

/** An EmbedStreamRequest around a request that is encoded already, behind its prefix. */
export function streamFrame(slot: number, request: Buffer): Buffer {
  const length = varint(request.length);
  const messageBytes = 2 + ID_BYTES + 1 + length.length + request.length;
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + messageBytes);
  frame[0] = 0;
  frame.writeUInt32BE(messageBytes, 1);
  frame[5] = ID_TAG;
  frame[6] = ID_BYTES;
  frame.write(String(slot).padStart(ID_BYTES, '0'), 7, 'latin1');
  frame[7 + ID_BYTES] = MESSAGE_TAG;
  frame.set(length, 8 + ID_BYTES);
  frame.set(request, 8 + ID_BYTES + length.length);
  return frame;
}

/** The length-delimited field at the start, without its tag and length. */
function responseIn(field: Buffer): Buffer {
  let at = 1;
  while (field[at]! >= 0x80) at++;
  return field.subarray(at + 1);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) return [...bytes, rest];
    bytes.push((rest & 0x7f) | 0x80);
  }
}
