import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';

/** Milliseconds that the headers of a request may take. */
const headersTimeoutMs = 20_000;
/** Milliseconds that a whole request may take to arrive; a large upload over a slow line needs long. */
const requestTimeoutMs = 600_000;

/**
 * An HTTP server with limits on slow and large callers; it does not listen yet. A caller who asks first whether a
 * body is welcome (`Expect: 100-continue`) is answered by the route, when its headers have passed.
 */
export function createHttpServer(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Server {
  const options = {
    headersTimeout: headersTimeoutMs,
    requestTimeout: requestTimeoutMs,
    maxHeaderSize: 16 * 1024,
  };
  const server = createServer({ ...options, keepAliveTimeout: 10_000 }, handler);
  server.on('checkContinue', handler);
  return server;
}
