import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RagError } from '../errors.ts';

/** What is known about one request besides its message. */
export interface Exchange {
  /** The caller's `x-request-id` when it is a plain one, else a new UUID. */
  requestId: string;
  startedAt: number;
  /** Path pattern of the route that matched. */
  route?: string;
  /** What the request failed with. */
  error?: RagError;
}

const exchanges = new WeakMap<IncomingMessage, Exchange>();

/** Starts the record of a request and tells the caller its id. */
export function beginExchange(request: IncomingMessage, response: ServerResponse): Exchange {
  const given = request.headers['x-request-id'];
  const requestId = typeof given === 'string' && /^[\w.:-]{1,128}$/.test(given) ? given : randomUUID();
  const exchange = { requestId, startedAt: performance.now() };
  exchanges.set(request, exchange);
  response.setHeader('x-request-id', requestId);
  return exchange;
}

/** The record of a request. */
export function exchangeOf(request: IncomingMessage): Exchange {
  const exchange = exchanges.get(request);
  if (!exchange) throw new Error('the request was not begun');
  return exchange;
}
