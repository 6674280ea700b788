/** gRPC status codes, as numbers so that nothing below the api needs a gRPC library. */
const CANCELLED = 1;
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const FAILED_PRECONDITION = 9;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

/** How an error of one reason is told to the outside. */
export interface ErrorRow {
  grpc: number;
  http: number;
  /** Whether the same call may succeed later. */
  retryable: boolean;
  level: 'debug' | 'info' | 'warn' | 'error';
}

const table = {
  INVALID_INPUT: { grpc: INVALID_ARGUMENT, http: 400, retryable: false, level: 'info' },
  SHAPE_MISMATCH: { grpc: INVALID_ARGUMENT, http: 400, retryable: false, level: 'info' },
  INPUT_TOO_LONG: { grpc: INVALID_ARGUMENT, http: 413, retryable: false, level: 'info' },
  BATCH_TOO_LARGE: { grpc: INVALID_ARGUMENT, http: 413, retryable: false, level: 'info' },
  UNAUTHENTICATED: { grpc: UNAUTHENTICATED, http: 401, retryable: false, level: 'warn' },
  FORBIDDEN: { grpc: PERMISSION_DENIED, http: 403, retryable: false, level: 'warn' },
  MODEL_NOT_FOUND: { grpc: NOT_FOUND, http: 404, retryable: false, level: 'info' },
  VERSION_NOT_FOUND: { grpc: NOT_FOUND, http: 404, retryable: false, level: 'info' },
  TASK_NOT_SUPPORTED: { grpc: UNIMPLEMENTED, http: 501, retryable: false, level: 'info' },
  MODEL_CONFIG_INVALID: { grpc: FAILED_PRECONDITION, http: 409, retryable: false, level: 'error' },
  MODEL_LOAD_FAILED: { grpc: FAILED_PRECONDITION, http: 409, retryable: false, level: 'error' },
  SPACE_MISMATCH: { grpc: FAILED_PRECONDITION, http: 409, retryable: false, level: 'warn' },
  MODEL_NOT_READY: { grpc: UNAVAILABLE, http: 503, retryable: true, level: 'warn' },
  MODEL_DRAINING: { grpc: UNAVAILABLE, http: 503, retryable: true, level: 'info' },
  SERVER_STOPPING: { grpc: UNAVAILABLE, http: 503, retryable: true, level: 'info' },
  EXECUTOR_CRASHED: { grpc: UNAVAILABLE, http: 503, retryable: true, level: 'error' },
  BACKEND_UNAVAILABLE: { grpc: UNAVAILABLE, http: 503, retryable: true, level: 'error' },
  QUEUE_FULL: { grpc: RESOURCE_EXHAUSTED, http: 429, retryable: true, level: 'warn' },
  // Told by metrics: an overloaded server has better things to do than to log each refusal.
  DEADLINE_UNREACHABLE: { grpc: RESOURCE_EXHAUSTED, http: 429, retryable: true, level: 'debug' },
  MEMORY_BUDGET_EXCEEDED: { grpc: RESOURCE_EXHAUSTED, http: 507, retryable: true, level: 'warn' },
  DEADLINE_EXCEEDED: { grpc: DEADLINE_EXCEEDED, http: 504, retryable: true, level: 'info' },
  CANCELLED: { grpc: CANCELLED, http: 499, retryable: false, level: 'debug' },
  BATCH_FAILED: { grpc: INTERNAL, http: 500, retryable: false, level: 'error' },
  INTERNAL: { grpc: INTERNAL, http: 500, retryable: false, level: 'error' },
} as const satisfies Record<string, ErrorRow>;

/** The closed set of failure reasons. */
export type Reason = keyof typeof table;

/** Code, status, retryability and log level of every reason; the README's table is made from it. */
export const errorTable: Readonly<Record<Reason, ErrorRow>> = table;

/**
 * The one error of the model server. The message is for the person who reads it: what, which model and version, the
 * limit, the actual value, what to do.
 */
export class ServingError extends Error {
  readonly reason: Reason;
  /** For reasons that pass by themselves: when to try again, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    reason: Reason,
    message: string,
    options?: { cause?: unknown; retryAfterMs?: number | undefined },
  ) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ServingError';
    this.reason = reason;
    this.retryAfterMs = options?.retryAfterMs;
  }

  get row(): ErrorRow {
    return table[this.reason];
  }

  /** Anything thrown, as a ServingError. */
  static from(thrown: unknown): ServingError {
    if (thrown instanceof ServingError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new ServingError('INTERNAL', message, { cause: thrown });
  }
}
