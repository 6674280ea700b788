import { CommandFailure, exitCodes } from '../exit-codes.ts';
import type { Surroundings } from './source.ts';

/** Where the hub is, and as whom we ask. */
export interface HubAccess {
  /** Without a slash at its end. */
  endpoint: string;
  token: string | undefined;
  /** `owner/name`, for messages. */
  id: string;
  revision: string;
}

export interface RequestOptions {
  signal: AbortSignal;
  surroundings: Surroundings;
  onRetry(retry: { attempt: number; inMs: number; why: string }): void;
}

export const MOST_ATTEMPTS = 5;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** Something that may pass by itself; `pauseMs` is what the server asked for. */
export class Passing extends Error {
  readonly pauseMs: number | undefined;

  constructor(message: string, options: { pauseMs?: number | undefined; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = 'Passing';
    this.pauseMs = options.pauseMs;
  }
}

/**
 * HF_ENDPOINT and HF_TOKEN, checked.
 * @throws CommandFailure (wrong usage); the token is never part of the message
 */
export function hubAccess(
  env: Readonly<Record<string, string | undefined>>,
  { id, revision }: { id: string; revision: string },
): HubAccess {
  const endpoint = (env.HF_ENDPOINT?.trim() || 'https://huggingface.co').replace(/\/+$/, '');
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    const message =
      'HF_ENDPOINT must be an address such as https://huggingface.co, without user and password';
    throw new CommandFailure(message, { exitCode: exitCodes.usage });
  }
  const token = env.HF_TOKEN?.trim() || undefined;
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    const message = 'HF_TOKEN holds characters that no token has; copy it again';
    throw new CommandFailure(message, { exitCode: exitCodes.usage });
  }
  return { endpoint, token, id, revision };
}

/**
 * One request to the hub. The token goes to the hub's own origin only: not to an address that the hub names elsewhere, and
 * by the rules of fetch not along a redirect to another origin.
 * @throws Passing when the same request may succeed later, CommandFailure when not
 */
export async function askHub(
  access: HubAccess,
  url: string | URL,
  { surroundings, init }: { surroundings: Surroundings; init: RequestInit },
): Promise<Response> {
  const headers = new Headers(init.headers);
  if (access.token !== undefined && new URL(url).origin === new URL(access.endpoint).origin)
    headers.set('authorization', `Bearer ${access.token}`);
  let response: Response;
  try {
    response = await surroundings.fetch(url, { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted === true) throw init.signal.reason;
    throw new Passing(`${new URL(url).origin} can't be reached: ${causeOf(error)}`, { cause: error });
  }
  if (response.ok || response.status === 416) return response;
  await response.body?.cancel();
  throw failureOf(access, url, response);
}

/** Runs `attempt` until it succeeds, its failure is final, or it has failed five times without getting further. */
export async function retrying<T>(
  attempt: (progressed: () => void) => Promise<T>,
  access: HubAccess,
  { signal, surroundings, onRetry }: RequestOptions,
): Promise<T> {
  for (let failures = 0; ; ) {
    signal.throwIfAborted();
    let progressed = false;
    try {
      return await attempt(() => {
        progressed = true;
      });
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Passing)) throw error;
      failures = progressed ? 1 : failures + 1;
      if (failures >= MOST_ATTEMPTS) throw unreachable(access, error);
      const pauseMs = error.pauseMs ?? FIRST_PAUSE_MS * 2 ** (failures - 1);
      const inMs = Math.min(pauseMs, LONGEST_PAUSE_MS);
      onRetry({ attempt: failures + 1, inMs, why: error.message });
      await surroundings.pause(inMs, signal);
    }
  }
}

/** The innermost cause, which says more than "fetch failed". */
export function causeOf(error: unknown): string {
  let inner = error;
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause;
  if (!(inner instanceof Error)) return String(inner);
  const code = (inner as NodeJS.ErrnoException).code;
  return inner.message || code || inner.name;
}

function unreachable({ endpoint }: HubAccess, error: Passing): CommandFailure {
  return new CommandFailure(
    `${error.message} (tried ${MOST_ATTEMPTS} times). The hub is ${endpoint}; HF_ENDPOINT names another one, and ` +
      '"nereid pull ./folder" needs no network. Running the same command again goes on from here.',
    { cause: error },
  );
}

function failureOf(access: HubAccess, url: string | URL, response: Response): Error {
  const { status, headers } = response;
  const { endpoint, id, revision, token } = access;
  // Of a host that the hub sent us to, any refusal may pass: its addresses are signed for a while.
  const origin = new URL(response.url || url).origin;
  if (status >= 500 || status === 429 || status === 408 || origin !== new URL(endpoint).origin) {
    const seconds = Number(headers.get('retry-after') ?? Number.NaN);
    const pauseMs = Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
    return new Passing(`${origin} answers ${status} for ${new URL(url).pathname}`, { pauseMs });
  }
  const code = headers.get('x-error-code');
  const page = `${endpoint}/${id}`;
  if (code === 'GatedRepo' || status === 403) {
    const what =
      token === undefined
        ? 'set HF_TOKEN to a token of that account'
        : 'use a token in HF_TOKEN that may read it';
    return new CommandFailure(`${id} is gated: accept its terms at ${page}, then ${what}`);
  }
  if (code === 'RevisionNotFound')
    return new CommandFailure(
      `${id} has no revision ${revision}; its branches and tags are at ${page}/tree/main`,
    );
  if (code === 'EntryNotFound')
    return new CommandFailure(`${id} at ${revision} no longer has ${new URL(url).pathname}`);
  if (status === 401 && token !== undefined && code !== 'RepoNotFound')
    return new CommandFailure(`${endpoint} refuses the token in HF_TOKEN (401); make a new one or unset it`);
  if (status === 404 || status === 401) {
    const hint =
      token === undefined
        ? 'is private: HF_TOKEN must then hold a token that may read it'
        : 'the token in HF_TOKEN may not see it';
    return new CommandFailure(
      `there is no model ${id} at ${endpoint}, or it ${hint}`.replace('or it the', 'or the'),
    );
  }
  return new CommandFailure(`${endpoint} answers ${status} for ${new URL(url).pathname}`);
}
