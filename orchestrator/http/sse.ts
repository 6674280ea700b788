import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { z } from 'zod';
import { RagError } from '../errors.ts';

/** The last event of a stream that failed after its status was sent. */
export const errorEvent = z.strictObject({
  type: z.literal('error'),
  reason: z.string(),
  message: z.string(),
  retryable: z.boolean(),
});

/** An open stream of server-sent events. */
export interface EventSink {
  /** Sends one event, named after its type; waits while the caller reads slower than we write. */
  send(data: { type: string }): Promise<void>;
}

export interface EventStreamOptions {
  /** The caller went away, its time ran out, or the process stops. */
  signal: AbortSignal;
  /** Milliseconds between the comments that keep an idle connection open. */
  heartbeatMs: number;
}

/**
 * Answers with server-sent events for as long as `produce` runs. What it throws becomes the last event, since the
 * status is sent already.
 */
export async function streamEvents(
  response: ServerResponse,
  options: EventStreamOptions,
  produce: (sink: EventSink) => Promise<void>,
): Promise<void> {
  response.statusCode = 200;
  response.setHeader('content-type', 'text/event-stream; charset=utf-8');
  response.setHeader('cache-control', 'no-cache, no-transform');
  response.setHeader('x-accel-buffering', 'no');
  response.setHeader('x-content-type-options', 'nosniff');
  response.flushHeaders();
  const heartbeat = setInterval(() => {
    if (!response.writableNeedDrain) response.write(': still here\n\n');
  }, options.heartbeatMs);
  try {
    await produce({ send: (data) => write(response, data, options.signal) });
  } catch (thrown) {
    const { reason, message, retryable } = RagError.from(thrown);
    const event: z.input<typeof errorEvent> = { type: 'error', reason, message, retryable };
    if (!response.destroyed) response.write(encode(event));
  } finally {
    clearInterval(heartbeat);
    response.end();
  }
}

async function write(response: ServerResponse, data: { type: string }, signal: AbortSignal): Promise<void> {
  if (response.destroyed) throw RagError.from(signal.reason);
  if (response.write(encode(data))) return;
  await once(response, 'drain', { signal }).catch((error: unknown) => {
    throw signal.aborted ? RagError.from(signal.reason) : error;
  });
}

function encode(data: { type: string }): string {
  return `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`;
}
