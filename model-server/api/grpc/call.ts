import { Metadata, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { ServingError } from '../../errors.ts';
import { type Caller, PROXY_HEADERS } from '../admin-guard.ts';
import { Undecodable } from './service.ts';

/** Characters of an error's text at most. */
const MAX_DETAILS = 1_000;

/** How a failed call ends. */
export interface Status {
  code: number;
  details: string;
  metadata: Metadata;
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

/** Who calls, as the admin guard wants to know it. */
export function callerOf(call: ServerUnaryCall<unknown, unknown>): Caller {
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

function textOf(metadata: Metadata, name: string): string | undefined {
  return metadata.get(name)[0]?.toString();
}
