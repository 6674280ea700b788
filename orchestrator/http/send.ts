import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { hasBody } from './request-body.ts';

/** Milliseconds that the rest of a refused body is thrown away, so that the caller reads the answer before a reset. */
const lingerMs = 1_000;

/** An answer that is complete in memory. */
export interface Payload {
  status: number;
  /** Sent as JSON, unless it is a string. */
  body?: unknown;
  headers?: OutgoingHttpHeaders | undefined;
}

/**
 * Sends an answer. When the request's body is still arriving, nobody will read it: the answer goes out at once and
 * the connection is closed soon after.
 */
export function send(request: IncomingMessage, response: ServerResponse, payload: Payload): void {
  if (response.headersSent || response.destroyed) return;
  const bytes = encode(payload.body);
  response.statusCode = payload.status;
  response.setHeader('cache-control', 'no-store');
  response.setHeader('x-content-type-options', 'nosniff');
  if (bytes) {
    const type = typeof payload.body === 'string' ? 'text/plain' : 'application/json';
    response.setHeader('content-type', `${type}; charset=utf-8`);
    response.setHeader('content-length', bytes.length);
  }
  for (const [name, value] of Object.entries(payload.headers ?? {})) {
    if (value !== undefined) response.setHeader(name, value);
  }
  const withBody = request.method === 'HEAD' ? undefined : bytes;
  if (request.complete || !hasBody(request)) response.end(withBody);
  else sendEarly(request, response, withBody);
}

function encode(body: unknown): Buffer | undefined {
  if (body === undefined) return undefined;
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

/** The content-length makes the answer whole for the caller before the response ends here. */
function sendEarly(request: IncomingMessage, response: ServerResponse, bytes: Buffer | undefined): void {
  response.setHeader('connection', 'close');
  if (bytes) response.write(bytes);
  else response.flushHeaders();
  const finish = () => {
    clearTimeout(timer);
    response.end();
  };
  const timer = setTimeout(finish, lingerMs);
  request.once('end', finish);
  response.once('close', finish);
  request.resume();
}
