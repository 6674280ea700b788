import { Metadata, type ServerDuplexStream, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { ServingError } from '../../errors.ts';
import type { Log } from '../../log.ts';
import type { Metrics } from '../../metrics.ts';
import type { Registry } from '../../models/registry.ts';
import { Undecodable } from './service.ts';

/** Characters of an error's text at most. */
const MAX_DETAILS = 1_000;

/** What every handler needs. */
export interface ApiDeps {
  registry: Registry;
  metrics: Metrics;
  log: Log;
  maxInputsPerCall: number;
  inFlight: InFlight;
}

/** How many requests are being answered, messages of streams counted one by one. */
export class InFlight {
  #count = 0;
  #onIdle: (() => void)[] = [];

  enter(): void {
    this.#count++;
  }

  leave(): void {
    this.#count--;
    if (this.#count === 0) for (const tell of this.#onIdle.splice(0)) tell();
  }

  /** Resolves when nothing is being answered. */
  idle(): Promise<void> {
    return this.#count === 0 ? Promise.resolve() : new Promise((resolve) => this.#onIdle.push(resolve));
  }
}

/** One signal and deadline per call. */
export interface CallContext {
  signal: AbortSignal;
  /** Milliseconds since the epoch. */
  deadlineMs: number | undefined;
}

/** Makes a unary handler of a function from message to message: cancel, deadline, error mapping, metrics. */
export function unary<Request, Response>(
  deps: ApiDeps,
  method: string,
  handle: (request: Request, context: CallContext) => Promise<Response>,
) {
  return (
    call: ServerUnaryCall<Request | Undecodable, Response>,
    callback: sendUnaryData<Response>,
  ): void => {
    const context = contextOf(call);
    measured(deps, method, async () => {
      if (call.request instanceof Undecodable) throw call.request.error;
      return handle(call.request, context);
    }).then(
      (response) => callback(null, response),
      (error: ServingError) => callback(toStatus(error)),
    );
  };
}

/** Runs one request, counts and logs its outcome. @throws ServingError only */
export async function measured<T>(deps: ApiDeps, method: string, run: () => Promise<T>): Promise<T> {
  const started = performance.now();
  deps.inFlight.enter();
  let reason = 'OK';
  try {
    return await run();
  } catch (thrown) {
    const error = ServingError.from(thrown);
    reason = error.reason;
    // An INTERNAL error is ours to mend, so its stack belongs in the log; the others are told to the caller.
    deps.log[error.row.level](
      { method, reason, ...(reason === 'INTERNAL' ? { err: error } : {}) },
      error.message,
    );
    throw error;
  } finally {
    deps.inFlight.leave();
    deps.metrics.requestDone({ method, reason, seconds: (performance.now() - started) / 1000 });
  }
}

/** The signal that ends with the call: the client cancelled or left, or the deadline (grpc-timeout) passed. */
export function contextOf(
  call: ServerUnaryCall<unknown, unknown> | ServerDuplexStream<unknown, unknown>,
): CallContext {
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
  return { signal: controller.signal, deadlineMs };
}

/** A ServingError as gRPC status; the reason and the advice when to retry travel as trailing metadata. */
export function toStatus(error: ServingError) {
  const metadata = new Metadata();
  metadata.set('nereid-reason', error.reason);
  if (error.retryAfterMs !== undefined) metadata.set('nereid-retry-after-ms', String(error.retryAfterMs));
  // The text travels in a header: one that is too long would end the whole connection.
  const details =
    error.message.length > MAX_DETAILS ? `${error.message.slice(0, MAX_DETAILS)}...` : error.message;
  return { code: error.row.grpc, details, metadata };
}
