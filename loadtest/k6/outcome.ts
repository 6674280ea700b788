import { STATUS_NAMES } from '../../cli/bench/grpc-status-names.ts';

/** How one request ended. */
export interface Outcome {
  /** refused: the server was busy and said so, or the deadline passed; a caller tries again later. */
  kind: 'answered' | 'refused' | 'failed';
  /** The reason as the server names it, or what was wrong with the answer. */
  reason: string;
}

/** Sends one request and waits for its end. */
export type Send = () => Outcome;

/** The ways to say "busy, later" and "too late": gRPC's and Connect's codes, and the orchestrator's reasons. */
const REFUSALS = new Set(['RESOURCE_EXHAUSTED', 'DEADLINE_EXCEEDED', 'QUEUE_FULL', 'RATE_LIMITED']);

/**
 * The outcome of a request.
 * @param problem undefined when the answer is what was asked for
 * @param reason a gRPC or Connect code or a reason, in any case
 */
export function outcomeOf(problem: string | undefined, reason = ''): Outcome {
  if (problem === undefined) return { kind: 'answered', reason: 'OK' };
  const name = reason.toUpperCase();
  return REFUSALS.has(name) ? { kind: 'refused', reason: name } : { kind: 'failed', reason: name || problem };
}

/** The name of a gRPC status code. */
export function grpcCode(status: number): string {
  return STATUS_NAMES[status] ?? `CODE_${status}`;
}
