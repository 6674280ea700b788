import { CommandFailure } from '../exit-codes.ts';
import { runsFromSource } from '../package-root.ts';

/** The orchestrator answered with an error, or not at all. */
export class ApiFailure extends CommandFailure {
  readonly reason: string;
  /** HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** Milliseconds to wait before trying again; undefined when trying again is of no use. */
  readonly retryAfterMs: number | undefined;

  constructor(
    reason: string,
    message: string,
    options: { status?: number; retryAfterMs?: number | undefined; cause?: unknown } = {},
  ) {
    super(`${reason}: ${message}`, { cause: options.cause });
    this.name = 'ApiFailure';
    this.reason = reason;
    this.status = options.status ?? 0;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** The error body of the API, or what else came with a status that is not 2xx. */
export async function failureOf(response: Response): Promise<ApiFailure> {
  const text = await response.text().catch(() => '');
  const { status } = response;
  const pause = Number(response.headers.get('retry-after') ?? Number.NaN);
  const { reason, message, retryable } = errorBody(text);
  if (reason === undefined) {
    const what = `${response.url} answered ${status} ${response.statusText}: ${text.slice(0, 300)}`;
    return new ApiFailure('UNEXPECTED_ANSWER', `${what}. Is this a Nereid orchestrator?`, { status });
  }
  const retryAfterMs = retryable === true ? (Number.isFinite(pause) ? pause * 1000 : 1000) : undefined;
  return new ApiFailure(reason, message ?? '', { status, retryAfterMs });
}

/** What fetch threw: nobody there, or the connection broke. */
export function unreachable(url: string, thrown: unknown): Error {
  // The caller's own Ctrl-C is not a failure of the network.
  if (thrown instanceof Error && thrown.name === 'AbortError') return thrown;
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  const code = typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : '';
  const detail = code || (cause instanceof Error ? cause.message : String(cause));
  const start = runsFromSource ? 'npm start' : 'nereid up';
  const message =
    code === 'ECONNREFUSED'
      ? `nothing listens at ${url}. Start it with: ${start}   (or name another address with --url)`
      : `the connection to ${url} failed (${detail}). If it is not running, start it with: ${start}`;
  return new ApiFailure('UNREACHABLE', message, { cause: thrown });
}

function errorBody(text: string): { reason?: string; message?: string; retryable?: boolean } {
  try {
    const body = JSON.parse(text) as { error?: { reason?: string; message?: string; retryable?: boolean } };
    return body.error ?? {};
  } catch {
    return {};
  }
}
