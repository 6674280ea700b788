import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { ErrorRequestHandler } from 'express';
import { z } from 'zod';
import type { Reason } from '../errors.ts';
import { errorTable, RagError } from '../errors.ts';
import type { Log } from '../log.ts';
import { exchangeOf } from './exchange.ts';
import { send } from './send.ts';

const reasons = Object.keys(errorTable) as Reason[];

/** The body of every failed request. */
export const errorBody = z
  .strictObject({
    error: z.strictObject({
      reason: z.enum(reasons),
      message: z.string().meta({ description: 'for the person who reads it' }),
      retryable: z.boolean(),
      request_id: z.string(),
      details: z.record(z.string(), z.unknown()).optional(),
    }),
  })
  .meta({ id: 'Error' });

/** Answers a request that failed, and logs it as the error table says. */
export function sendError(request: IncomingMessage, response: ServerResponse, thrown: unknown): void {
  const exchange = exchangeOf(request);
  const error = fromHttp(thrown);
  exchange.error = error;
  const body: z.input<typeof errorBody> = {
    error: {
      reason: error.reason,
      message: publicMessage(error, exchange.requestId),
      retryable: error.retryable,
      request_id: exchange.requestId,
      ...(error.details && { details: error.details }),
    },
  };
  if (!response.headersSent)
    send(request, response, { status: error.httpStatus, body, headers: retryHeaders(error) });
  else if (!response.writableEnded) response.destroy();
}

/** Express hands over whatever a route threw. */
export function errorHandler(log: Log): ErrorRequestHandler {
  return (thrown, request, response, _next) => {
    sendError(request, response, thrown);
    const { error, requestId } = exchangeOf(request);
    if (!error) return;
    const { level } = errorTable[error.reason];
    if (level === 'info') return;
    log[level]({ request_id: requestId, reason: error.reason, err: error }, 'a request failed');
  };
}

/** Express and its router throw errors with a status of their own: a path that is not decodable, for example. */
function fromHttp(thrown: unknown): RagError {
  if (thrown instanceof URIError) {
    return new RagError(
      'INVALID_INPUT',
      'The path is not valid: a % in it must be followed by the hex code of UTF-8.',
    );
  }
  return RagError.from(thrown);
}

/** What went wrong inside is for the log, not for the outside. */
function publicMessage(error: RagError, requestId: string): string {
  if (error.reason !== 'INTERNAL') return error.message;
  return `Something went wrong inside the orchestrator. Its log says what, under the request id ${requestId}.`;
}

function retryHeaders(error: RagError): OutgoingHttpHeaders {
  if (!error.retryable) return {};
  const afterMs = typeof error.details?.retryAfterMs === 'number' ? error.details.retryAfterMs : 1_000;
  return { 'retry-after': String(Math.max(1, Math.ceil(afterMs / 1000))) };
}
