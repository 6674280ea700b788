import type { ServiceError } from '@grpc/grpc-js';
import { status } from '@grpc/grpc-js';
import type { Reason } from '../errors.ts';
import { RagError } from '../errors.ts';

/** What a status of the model server is to the orchestrator; the rest is MODEL_SERVER_REFUSED. */
const reasons: Partial<Record<status, Reason>> = {
  [status.UNAVAILABLE]: 'MODEL_SERVER_UNAVAILABLE',
  [status.RESOURCE_EXHAUSTED]: 'QUEUE_FULL',
  [status.DEADLINE_EXCEEDED]: 'DEADLINE_EXCEEDED',
  // The caller's own cancel never comes this far: it was the server that let go of the call.
  [status.CANCELLED]: 'MODEL_SERVER_UNAVAILABLE',
};

/** Where the model server's own reason says more than its status. */
const ownReasons: Partial<Record<string, Reason>> = { SPACE_MISMATCH: 'SPACE_MISMATCH' };

/** The model server's own reasons for a model or version that it does not have, or not in the space that was asked for. */
const goneReasons = ['SPACE_MISMATCH', 'VERSION_NOT_FOUND', 'MODEL_NOT_FOUND'];

/** Whether a call failed because what the server said of its models before is no longer so. */
export function isGone(error: unknown): boolean {
  if (!(error instanceof RagError)) return false;
  return error.reason === 'SPACE_MISMATCH' || goneReasons.includes(`${error.details?.serverReason}`);
}

/** A failed gRPC call as a RagError that names the server and says what to do. */
export function fromGrpcError(error: ServiceError, at: { address: string; timeoutMs: number }): RagError {
  const serverReason = error.metadata?.get('nereid-reason')[0]?.toString();
  const reason = ownReasons[serverReason ?? ''] ?? reasons[error.code] ?? 'MODEL_SERVER_REFUSED';
  const grpcCode = status[error.code] ?? String(error.code);
  const details = { address: at.address, grpcCode, ...(serverReason && { serverReason }) };
  return new RagError(reason, message(reason, error, at), { details, cause: error });
}

function message(reason: Reason, error: ServiceError, at: { address: string; timeoutMs: number }): string {
  // grpc-js adds a note on name resolution, mostly an empty one.
  const said =
    error.details.replace(/\s*Resolution note:\s*$/, '').replace(/[.\s]+$/, '') ||
    status[error.code] ||
    `status ${error.code}`;
  switch (reason) {
    case 'MODEL_SERVER_UNAVAILABLE':
      return `The model server at ${at.address} is not available: ${said}. If it is not running, start it with \`nereid serve\`, or name another one with --server-address.`;
    case 'QUEUE_FULL':
      return `The model server at ${at.address} has no room for more: ${said}. Try again in a moment.`;
    case 'DEADLINE_EXCEEDED':
      return `The model server at ${at.address} did not answer within ${at.timeoutMs} ms: ${said}.`;
    default:
      return `The model server at ${at.address} refused (${status[error.code] ?? error.code}): ${said}.`;
  }
}
