import { type ModelRef, type Timings as TimingsMessage, Truncate } from '../../../proto/gen/serving_pb.js';
import { ServingError } from '../../errors.ts';
import type { CallOptions, Timings } from '../../models/run-task.ts';
import type { Target, VersionRef } from '../../models/target.ts';
import type { CallContext } from '../call-context.ts';

/** Which version answered. */
export function modelRef({ name, version, space }: VersionRef): ModelRef {
  return { $typeName: 'nereid.serving.v1.ModelRef', name, version, space };
}

/** Which version a request means. */
export function targetOf(
  request: { model: string; version: number; alias: string; expectSpace?: string },
  task: Target['task'],
  { stickyKey }: Pick<CallContext, 'stickyKey'>,
): Target {
  const { model, version, alias, expectSpace = '' } = request;
  return { model, version, alias, expectSpace, task, stickyKey };
}

/** @param started `performance.now()` at the start of the call */
export function timings(of: Timings, started: number): TimingsMessage {
  return {
    $typeName: 'nereid.serving.v1.Timings',
    queueUs: Math.round(of.queueUs),
    tokenizeUs: Math.round(of.tokenizeUs),
    computeUs: Math.round(of.computeUs),
    postUs: Math.round(of.postUs),
    totalUs: Math.round((performance.now() - started) * 1000),
  };
}

/** What a request wants done with texts that are too long; the end is dropped unless it says otherwise. */
export function truncation(request: { truncate: Truncate }): CallOptions['truncate'] {
  return request.truncate === Truncate.ERROR ? 'error' : 'end';
}

/** @throws ServingError BATCH_TOO_LARGE */
export function refuseTooMany(inputs: number, limit: number): void {
  if (inputs <= limit) return;
  throw new ServingError(
    'BATCH_TOO_LARGE',
    `the call has ${inputs} inputs, the limit is ${limit}. Send them in several calls, or raise --max-inputs-per-call.`,
  );
}
