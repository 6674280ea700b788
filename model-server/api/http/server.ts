import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ServingError } from '../../errors.ts';

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

/** A route's answer: status and a JSON body, or text with its type. */
export interface Answer {
  status: number;
  body: object | string;
  type?: string;
}

export type Routes = Record<string, () => Answer | Promise<Answer>>;

/** Listens for GET and HEAD on a fixed set of paths. @throws ServingError when the port is taken */
export async function listenHttp(routes: Routes, options: ListenOptions): Promise<HttpListener> {
  const server = createServer(
    { requestTimeout: 10_000, headersTimeout: 10_000, maxHeaderSize: 16 * 1024 },
    handler(routes),
  );
  await listen(server, options);
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      }),
    destroy: () => server.closeAllConnections(),
  };
}

function handler(routes: Routes): RequestListener {
  return async (request, response) => {
    const path = (request.url ?? '/').split('?')[0]!;
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
    let answer: Answer;
    if (route === undefined)
      answer = {
        status: 404,
        body: { error: `there is no ${path}; there are ${Object.keys(routes).join(', ')}` },
      };
    else if (request.method !== 'GET' && request.method !== 'HEAD')
      answer = { status: 405, body: { error: `${path} takes GET only` } };
    else
      answer = await Promise.resolve(route()).catch((error: Error) => ({
        status: 500,
        body: { error: error.message },
      }));
    const text = typeof answer.body === 'string' ? answer.body : `${JSON.stringify(answer.body)}\n`;
    response.writeHead(answer.status, { 'content-type': answer.type ?? 'application/json; charset=utf-8' });
    response.end(request.method === 'HEAD' ? undefined : text);
    // The body of a request that has no business here is not read.
    request.resume();
  };
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
