import type { IncomingHttpHeaders } from 'node:http2';
import { STATUS_NAMES } from './grpc-status-names.ts';

/** What every gRPC request carries. */
export const GRPC_HEADERS: Readonly<Record<string, string>> = {
  ':method': 'POST',
  'content-type': 'application/grpc',
  te: 'trailers',
};

export interface GrpcFailure {
  reason: string;
  message: string;
}

/** Why a call failed, as its headers or trailers say; undefined when they do not. */
export function failureOfTrailers(headers: IncomingHttpHeaders): GrpcFailure | undefined {
  const status = headers['grpc-status'];
  const message = decoded(String(headers['grpc-message'] ?? ''));
  if (typeof status === 'string') {
    const name = STATUS_NAMES[Number(status)] ?? `GRPC_${status}`;
    return { reason: String(headers['nereid-reason'] ?? name), message };
  }
  const http = headers[':status'] as unknown;
  return http === undefined || Number(http) === 200
    ? undefined
    : { reason: `HTTP_${String(http)}`, message: 'the answer is no gRPC' };
}

/** gRPC's form of a deadline; it allows eight digits. */
export function grpcTimeout(timeoutMs: number): string {
  return timeoutMs < 1e8 ? `${Math.ceil(timeoutMs)}m` : `${Math.ceil(timeoutMs / 1000)}S`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
