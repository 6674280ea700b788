import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface StubRequest {
  path: string;
  headers: IncomingHttpHeaders;
  body: Record<string, unknown>;
}

/** What the stub does with one request. */
export type StubReply = (response: StubResponse, request: StubRequest) => void | Promise<void>;

export interface StubLlm {
  baseUrl: string;
  requests: StubRequest[];
  /** Replies to the next requests in turn; the last one stays. */
  reply(...replies: StubReply[]): void;
  close(): Promise<void>;
}

/** One reply of the OpenAI streaming protocol, and the ways to break it. */
export class StubResponse {
  readonly raw: ServerResponse;

  constructor(raw: ServerResponse) {
    this.raw = raw;
  }

  head(status = 200, headers: Record<string, string> = {}): void {
    this.raw.writeHead(status, { 'content-type': 'text/event-stream', ...headers });
  }

  /** One event with a piece of the answer. */
  delta(content: string): void {
    this.event({ choices: [{ index: 0, delta: { content }, finish_reason: null }] });
  }

  event(data: unknown): void {
    this.bytes(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`);
  }

  bytes(bytes: string | Uint8Array): void {
    this.raw.write(bytes);
  }

  finish(reason = 'stop', usage?: { prompt_tokens: number; completion_tokens: number }): void {
    this.event({ choices: [{ index: 0, delta: {}, finish_reason: reason }] });
    if (usage) this.event({ choices: [], usage });
    this.event('[DONE]');
    this.raw.end();
  }

  /** Breaks the connection without ending the reply. */
  cut(): void {
    this.raw.socket?.destroy();
  }

  json(status: number, body: unknown, headers: Record<string, string> = {}): void {
    this.raw.writeHead(status, { 'content-type': 'application/json', ...headers });
    this.raw.end(typeof body === 'string' ? body : JSON.stringify(body));
  }
}

/** The reply of a server in good health: these pieces, then usage. */
export function says(...pieces: string[]): StubReply {
  return (response) => {
    response.head();
    for (const piece of pieces) response.delta(piece);
    response.finish('stop', { prompt_tokens: 12, completion_tokens: pieces.length });
  };
}

/** A chat API on a real socket. */
export async function startStubLlm(...replies: StubReply[]): Promise<StubLlm> {
  const requests: StubRequest[] = [];
  let queue = replies;
  const server = createServer(async (incoming, outgoing) => {
    const parts: Buffer[] = [];
    for await (const part of incoming) parts.push(part as Buffer);
    const text = Buffer.concat(parts).toString('utf8');
    const body = text ? (JSON.parse(text) as Record<string, unknown>) : {};
    const request = { path: incoming.url ?? '', headers: incoming.headers, body };
    requests.push(request);
    const reply = queue.length > 1 ? queue.shift() : queue[0];
    await reply?.(new StubResponse(outgoing), request);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    baseUrl: `http://127.0.0.1:${port}/v1`,
    requests,
    reply: (...next) => {
      queue = next;
    },
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
