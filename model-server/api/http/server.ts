import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { ServingError } from '../../errors.ts';
import { readBody } from './body.ts';

export interface HttpListener {
  port: number;
  /** Takes no new connections and finishes the running requests. */
  close(): Promise<void>;
  destroy(): void;
}

export interface ListenOptions {
  host: string;
  port: number;
  /** The flag that changes the port, for the message when it is taken. */
  flag: string;
}

/** A route's answer: status and a JSON body, or text or bytes with their type. */
export interface Answer {
  status: number;
  body: object | string | Uint8Array;
  type?: string;
  headers?: Record<string, string>;
}

/** A route that is read, by GET or HEAD. */
export type Read = () => Answer | Promise<Answer>;

/** A route that is sent something, by POST. */
export interface Action {
  post(request: PostRequest): Promise<Answer>;
}

export interface PostRequest {
  headers: IncomingHttpHeaders;
  /** IP address of the other end of the connection. */
  address: string;
  /** Reads the body: an action decides first whether it wants it. @throws ServingError as {@link readBody} does */
  readBody(maxBytes: number): Promise<Buffer>;
  /** Whether the client went away before it had its answer. */
  readonly gone: boolean;
  /** Called once when the client goes away before it has its answer. */
  onGone(listener: () => void): void;
}

export type Routes = Record<string, Read | Action>;

/** Listens on a fixed set of paths. @throws ServingError when the port is taken */
export async function listenHttp(routes: Routes, options: ListenOptions): Promise<HttpListener> {
  const state = { closing: false };
  const server = createServer(
    // A body may carry a model; headers come at once.
    { requestTimeout: 120_000, headersTimeout: 10_000, maxHeaderSize: 16 * 1024 },
    handler(routes, state),
  );
  await listen(server, options);
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        state.closing = true;
        server.close(() => resolve());
        server.closeIdleConnections();
      }),
    destroy: () => server.closeAllConnections(),
  };
}

function handler(routes: Routes, state: { closing: boolean }): RequestListener {
  return async (request, response) => {
    const path = (request.url ?? '/').split('?')[0]!;
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
    const { status, body, type, headers } =
      route === undefined ? notFound(path, routes) : await answerOf(route, { request, response, path });
    const content =
      typeof body === 'string' || body instanceof Uint8Array ? body : `${JSON.stringify(body)}\n`;
    response.writeHead(status, {
      'content-type': type ?? 'application/json; charset=utf-8',
      'content-length': Buffer.byteLength(content),
      ...headers,
      // What is left of a body that nobody wants is not worth reading to its end.
      ...(state.closing || !(request.complete || isRead(request)) ? { connection: 'close' } : {}),
    });
    response.end(request.method === 'HEAD' ? undefined : content);
    request.resume();
  };
}

interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  path: string;
}

async function answerOf(route: Read | Action, { request, response, path }: Exchange): Promise<Answer> {
  try {
    if (typeof route === 'function') {
      return isRead(request) ? await route() : notAllowed(path, 'GET');
    }
    if (request.method !== 'POST') return notAllowed(path, 'POST');
    return await route.post({
      headers: request.headers,
      address: request.socket.remoteAddress ?? '',
      readBody: (maxBytes) => readBody(request, maxBytes),
      get gone() {
        return response.closed && !response.writableFinished;
      },
      onGone: (listener) => response.once('close', () => void (response.writableFinished || listener())),
    });
  } catch (error) {
    return { status: 500, body: { error: (error as Error).message } };
  }
}

function isRead({ method }: IncomingMessage): boolean {
  return method === 'GET' || method === 'HEAD';
}

function notFound(path: string, routes: Routes): Answer {
  const known = Object.keys(routes).filter((name) => typeof routes[name] === 'function');
  return { status: 404, body: { error: `there is no ${path}; there are ${known.join(', ')}` } };
}

function notAllowed(path: string, method: string): Answer {
  return { status: 405, body: { error: `${path} takes ${method} only` }, headers: { allow: method } };
}

function listen(server: Server, { host, port, flag }: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(
        new ServingError(
          'INTERNAL',
          `can't listen on ${host}:${port}: ${error.message}. Choose another port with ${flag}.`,
        ),
      );
    });
    server.listen(port, host, resolve);
  });
}
