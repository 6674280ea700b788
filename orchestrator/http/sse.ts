import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { RagError } from '../errors.ts';

/** An open stream of server-sent events. */
export interface EventSink {
  /** Sends one event; waits while the caller reads slower than we write. */
  send(event: string, data: unknown): Promise<void>;
}

export interface EventStreamOptions {
  /** The caller went away, or the process stops. */
  signal: AbortSignal;
  /** Milliseconds between the comments that keep an idle connection open. */
  heartbeatMs: number;
}

/**
 * Answers with server-sent events for as long as `produce` runs.
 * @throws whatever `produce` throws; the response is ended all the same
 */
export async function streamEvents(
  response: ServerResponse,
  options: EventStreamOptions,
  produce: (sink: EventSink) => Promise<void>,
): Promise<void> {
  const { signal, heartbeatMs } = options;
  response.statusCode = 200;
  response.setHeader('content-type', 'text/event-stream; charset=utf-8');
  response.setHeader('cache-control', 'no-cache, no-transform');
  response.setHeader('x-accel-buffering', 'no');
  response.setHeader('x-content-type-options', 'nosniff');
  response.flushHeaders();
  const heartbeat = setInterval(() => {
    if (!response.writableNeedDrain) response.write(': still here\n\n');
  }, heartbeatMs);
  try {
    await produce({
      async send(event, data) {
        signal.throwIfAborted();
        const flushed = response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
        if (!flushed) await once(response, 'drain', { signal }).catch((error) => rethrow(signal, error));
      },
    });
  } finally {
    clearInterval(heartbeat);
    response.end();
  }
}

/** `once` hides the signal's reason in the cause. */
function rethrow(signal: AbortSignal, error: unknown): never {
  throw signal.aborted ? RagError.from(signal.reason) : error;
}
