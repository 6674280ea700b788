import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { RagError } from '../errors.ts';

/** Milliseconds that the headers of a request may take. */
const headersTimeoutMs = 20_000;
/** Milliseconds that a whole request may take to arrive; a large upload over a slow line needs long. */
const requestTimeoutMs = 600_000;

const maxConnections = 1_000;

export type RequestListener = (request: IncomingMessage, response: ServerResponse) => void;

/** A server that listens. */
export interface Listening {
  port: number;
  /** Takes no new connection; resolves when the last one has ended. */
  close(): Promise<void>;
  /** Cuts all connections. */
  destroy(): void;
}

/**
 * Listens with limits on slow and large callers.
 * @throws RagError INVALID_INPUT when the address can't be listened on
 */
export async function listenHttp(
  listener: RequestListener,
  { host, port }: { host: string; port: number },
): Promise<Listening> {
  const server = createHttpServer(listener);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', (error) => reject(cannotListen(error, { host, port })));
  server.listen(port, host, resolve);
  await promise;
  let closed: Promise<void> | undefined;
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      closed ??= closeServer(server);
      return closed;
    },
    destroy: () => server.closeAllConnections(),
  };
}

/**
 * A caller who asks first whether a body is welcome (`Expect: 100-continue`) is answered by the route, when its
 * headers have passed.
 */
function createHttpServer(listener: RequestListener): Server {
  const server = createServer({
    headersTimeout: headersTimeoutMs,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: 10_000,
    maxHeaderSize: 16 * 1024,
  });
  server.maxConnections = maxConnections;
  const handle: RequestListener = (request, response) => {
    // A connection that was busy when the server closed would otherwise stay open until it times out.
    response.once('close', () => {
      if (!server.listening) setImmediate(() => server.closeIdleConnections());
    });
    listener(request, response);
  };
  return server.on('request', handle).on('checkContinue', handle);
}

function closeServer(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  server.closeIdleConnections();
  return promise;
}

function cannotListen(error: Error, { host, port }: { host: string; port: number }): RagError {
  const code = 'code' in error ? error.code : '';
  if (code === 'EADDRINUSE') {
    const message = `Port ${port} on ${host} is taken already. Stop what listens there, or choose another port with --port.`;
    return new RagError('INVALID_INPUT', message, { cause: error });
  }
  if (code === 'EACCES') {
    const message = `Port ${port} needs more rights than this process has; choose one above 1023 with --port.`;
    return new RagError('INVALID_INPUT', message, { cause: error });
  }
  const message = `Can't listen on ${host} port ${port}: ${error.message}. See --host and --port.`;
  return new RagError('INVALID_INPUT', message, { cause: error });
}
