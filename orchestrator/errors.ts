/** How an error of each reason is told to the outside. A reason without a row does not compile. */
const table = {
  INVALID_INPUT: { http: 400, retryable: false, level: 'info' },
  FORBIDDEN: { http: 403, retryable: false, level: 'warn' },
  METHOD_NOT_ALLOWED: { http: 405, retryable: false, level: 'info' },
  UNSUPPORTED_MEDIA_TYPE: { http: 415, retryable: false, level: 'info' },
  DOCUMENT_UNREADABLE: { http: 422, retryable: false, level: 'info' },
  DOCUMENT_ENCRYPTED: { http: 422, retryable: false, level: 'info' },
  DOCUMENT_HAS_NO_TEXT: { http: 422, retryable: false, level: 'info' },
  TOO_LARGE: { http: 413, retryable: false, level: 'info' },
  NOT_FOUND: { http: 404, retryable: false, level: 'info' },
  SPACE_MISMATCH: { http: 409, retryable: false, level: 'warn' },
  QUEUE_FULL: { http: 429, retryable: true, level: 'warn' },
  MODEL_SERVER_UNAVAILABLE: { http: 503, retryable: true, level: 'warn' },
  MODEL_SERVER_REFUSED: { http: 502, retryable: false, level: 'warn' },
  STORE_UNAVAILABLE: { http: 503, retryable: true, level: 'error' },
  LLM_UNAVAILABLE: { http: 503, retryable: true, level: 'warn' },
  LLM_REFUSED: { http: 502, retryable: false, level: 'warn' },
  STOPPING: { http: 503, retryable: true, level: 'info' },
  DEADLINE_EXCEEDED: { http: 504, retryable: true, level: 'warn' },
  CANCELLED: { http: 499, retryable: false, level: 'info' },
  INTERNAL: { http: 500, retryable: false, level: 'error' },
} as const satisfies Record<string, { http: number; retryable: boolean; level: 'info' | 'warn' | 'error' }>;

export type Reason = keyof typeof table;

/** Code, retryability and log level of every reason; the README's table is made from it. */
export const errorTable: Readonly<
  Record<Reason, { http: number; retryable: boolean; level: 'info' | 'warn' | 'error' }>
> = table;

/**
 * The one error of the orchestrator. The message is for the person who reads it: what, which file or model, the
 * limit, the actual value, what to do.
 */
export class RagError extends Error {
  readonly reason: Reason;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(
    reason: Reason,
    message: string,
    options?: { details?: Record<string, unknown>; cause?: unknown },
  ) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'RagError';
    this.reason = reason;
    this.details = options?.details;
  }

  get httpStatus(): number {
    return table[this.reason].http;
  }

  get retryable(): boolean {
    return table[this.reason].retryable;
  }

  /** Anything thrown, as a RagError; an AbortSignal's reason keeps its meaning. */
  static from(thrown: unknown): RagError {
    if (thrown instanceof RagError) return thrown;
    if (thrown instanceof Error && thrown.name === 'AbortError') {
      return new RagError('CANCELLED', 'The caller went away before the answer was ready.', {
        cause: thrown,
      });
    }
    if (thrown instanceof Error && thrown.name === 'TimeoutError') {
      return new RagError('DEADLINE_EXCEEDED', 'The time allowed for this request ran out.', {
        cause: thrown,
      });
    }
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new RagError('INTERNAL', message, { cause: thrown });
  }
}
