import { createHash } from 'node:crypto';
import { Metadata, type ServerDuplexStream, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { ServingError } from '../../errors.ts';
import { type Caller, PROXY_HEADERS } from '../admin-guard.ts';
import { type ApiDeps, measured } from '../call.ts';
import { Undecodable } from './service.ts';

/** Characters of an error's text at most. */
const MAX_DETAILS = 1_000;

type AnyCall = ServerUnaryCall<unknown, unknown> | ServerDuplexStream<unknown, unknown>;

/** How a failed call ends. */
export interface Status {
  code: number;
  details: string;
  metadata: Metadata;
}

/** One signal and deadline per call, and who calls. */
export interface CallContext {
  signal: AbortSignal;
  /** Milliseconds since the epoch. */
  deadlineMs: number | undefined;
  /** Calls of one key go to one version where traffic is divided; empty: the text decides. */
  stickyKey: string;
}

/** Makes a unary handler of a function from message to message: cancel, deadline, error mapping, metrics. */
export function unary<Request, Response>(
  deps: ApiDeps,
  method: string,
  handle: (request: Request, context: CallContext) => Promise<Response>,
) {
  return answer<Request, Response>((call) => {
    const context = contextOf(call);
    return measured(deps, method, async () => handle(decoded(call.request), context));
  });
}

/** Makes a unary handler of a function of the call; `statusOf` says how what it throws is told. */
export function answer<Request, Response>(
  run: (call: ServerUnaryCall<Request | Undecodable, Response>) => Promise<Response>,
  statusOf: (error: ServingError, request: Request | Undecodable) => Status = toStatus,
) {
  return (
    call: ServerUnaryCall<Request | Undecodable, Response>,
    callback: sendUnaryData<Response>,
  ): void => {
    run(call).then(
      (response) => callback(null, response),
      (thrown: unknown) => callback(statusOf(ServingError.from(thrown), call.request)),
    );
  };
}

/** @throws ServingError INVALID_INPUT when the request could not be read */
export function decoded<Request>(request: Request | Undecodable): Request {
  if (request instanceof Undecodable) throw request.error;
  return request;
}

/** The signal that ends with the call: the client cancelled or left, or the deadline (grpc-timeout) passed. */
export function contextOf(call: AnyCall): CallContext {
  const controller = new AbortController();
  const deadline = call.getDeadline();
  const deadlineMs = Number.isFinite(Number(deadline)) ? Number(deadline) : undefined;
  call.on('cancelled', () => {
    const late = deadlineMs !== undefined && Date.now() >= deadlineMs;
    const error = late
      ? new ServingError('DEADLINE_EXCEEDED', 'The deadline of the call passed before its answer was ready.')
      : new ServingError('CANCELLED', 'The client cancelled the call.');
    controller.abort(error);
  });
  return { signal: controller.signal, deadlineMs, stickyKey: stickyKeyOf(call.metadata) };
}

/** Who calls, as the admin guard wants to know it. */
export function callerOf(call: AnyCall): Caller {
  const peer = call.getPeer();
  const port = /:\d+$/.exec(peer);
  return {
    address: port === null ? peer : peer.slice(0, port.index),
    authorization: textOf(call.metadata, 'authorization'),
    forwarded: PROXY_HEADERS.some((name) => call.metadata.get(name).length > 0),
  };
}

/** A ServingError as gRPC status; the reason and the advice when to retry travel as trailing metadata. */
export function toStatus(error: ServingError): Status {
  const metadata = new Metadata();
  metadata.set('nereid-reason', error.reason);
  if (error.retryAfterMs !== undefined) metadata.set('nereid-retry-after-ms', String(error.retryAfterMs));
  // The text travels in a header: one that is too long would end the whole connection.
  const details =
    error.message.length > MAX_DETAILS ? `${error.message.slice(0, MAX_DETAILS)}...` : error.message;
  return { code: error.row.grpc, details, metadata };
}

/** Callers who name no key are told apart by their credential, of which only a hash goes further. */
function stickyKeyOf(metadata: Metadata): string {
  const named = textOf(metadata, 'nereid-sticky-key');
  if (named !== undefined && named !== '') return named;
  const credential = textOf(metadata, 'x-api-key') ?? textOf(metadata, 'authorization');
  return credential === undefined ? '' : createHash('sha256').update(credential).digest('base64url');
}

function textOf(metadata: Metadata, name: string): string | undefined {
  return metadata.get(name)[0]?.toString();
}
