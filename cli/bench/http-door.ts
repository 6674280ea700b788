import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { DISCONNECTED, type Door, type DoorOptions, OK, UNANSWERED } from './door.ts';

/** Of an error body no more is read. */
const MOST_ERROR_BYTES = 8192;

/** Beyond that requests wait here, which counts as their latency; a process may not have that many files open. */
const MOST_SOCKETS = 512;

interface Call extends ClientRequest {
  slot: number;
  door: HttpDoor;
  keep: boolean;
  isSettled: boolean;
}

interface Answer extends IncomingMessage {
  call: Call;
  chunks: Buffer[];
  bytes: number;
}

/** HTTP/1.1 requests over connections that are kept. */
export class HttpDoor implements Door {
  readonly #options: DoorOptions;
  readonly #agent = new Agent({ keepAlive: true, scheduling: 'lifo', maxSockets: MOST_SOCKETS });
  readonly #calls = new Set<Call>();
  readonly #target: { host: string; port: number; path: string };

  constructor(options: DoorOptions) {
    this.#options = options;
    const url = new URL(options.origin);
    this.#target = {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port || 80),
      path: `${url.pathname.replace(/\/$/, '')}${options.path}`,
    };
  }

  open(): Promise<void> {
    const { host, port } = this.#target;
    return new Promise((resolve, reject) => {
      const socket = connect(port, host, () => {
        socket.destroy();
        resolve();
      });
      socket.once('error', reject);
    });
  }

  send(slot: number, body: Buffer, keep: boolean): void {
    const headers = { ...this.#options.headers, 'content-length': body.length };
    const call = request({ ...this.#target, agent: this.#agent, method: 'POST', headers }) as Call;
    call.slot = slot;
    call.door = this;
    call.keep = keep;
    call.isSettled = false;
    call.on('response', onResponse).on('error', onError);
    this.#calls.add(call);
    call.end(body);
  }

  abandon(): void {
    for (const call of this.#calls) {
      this.settle(call, UNANSWERED);
      call.destroy();
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  /** For the calls: this one is over. */
  settle(call: Call, reason: string, more?: Parameters<DoorOptions['settled']>[2]): void {
    if (call.isSettled) return;
    call.isSettled = true;
    this.#calls.delete(call);
    this.#options.settled(call.slot, reason, more);
  }
}

function onError(this: Call, { message }: Error): void {
  this.door.settle(this, DISCONNECTED, { message });
}

function onResponse(this: Call, response: IncomingMessage): void {
  const answer = response as Answer;
  answer.call = this;
  answer.chunks = [];
  answer.bytes = 0;
  if (this.keep || answer.statusCode !== 200) answer.on('data', onData);
  else answer.resume();
  answer.on('end', onEnd).on('error', onBroken);
}

function onData(this: Answer, chunk: Buffer): void {
  this.bytes += chunk.length;
  if (this.statusCode === 200 || this.bytes <= MOST_ERROR_BYTES) this.chunks.push(chunk);
}

function onBroken(this: Answer, { message }: Error): void {
  this.call.door.settle(this.call, DISCONNECTED, { message });
}

function onEnd(this: Answer): void {
  const { call, statusCode, headers } = this;
  if (statusCode === 200 && !call.keep) call.door.settle(call, OK);
  else if (statusCode === 200)
    call.door.settle(call, OK, { reply: { body: Buffer.concat(this.chunks), headers } });
  else {
    const failure = failureOfBody(Buffer.concat(this.chunks).toString(), statusCode ?? 0);
    call.door.settle(call, String(headers['nereid-reason'] ?? failure.reason), { message: failure.message });
  }
}

/** The reason in an error body of Nereid, Connect, TEI, OpenAI or KServe; else the status. */
export function failureOfBody(text: string, status: number): { reason: string; message: string } {
  const plain = { reason: `HTTP_${status}`, message: text.slice(0, 300) };
  try {
    const body = JSON.parse(text) as Record<string, unknown>;
    const inner = typeof body.error === 'object' && body.error !== null ? body.error : body;
    const { reason, code, error_type, message, error } = inner as Record<string, unknown>;
    const named = [reason, error_type, code].find((name) => typeof name === 'string' && name !== '');
    const said = [message, error].find((words) => typeof words === 'string');
    return {
      reason: typeof named === 'string' ? named : plain.reason,
      message: typeof said === 'string' ? said : plain.message,
    };
  } catch {
    return plain;
  }
}
