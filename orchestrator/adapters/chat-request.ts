import { setTimeout as sleep } from 'node:timers/promises';
import { RagError } from '../errors.ts';
import type { ChatMessage } from '../ports.ts';

/** Where a chat API is, and how patient to be with it. */
export interface ChatEndpoint {
  /** Up to and without `/chat/completions`, for example https://api.openai.com/v1 */
  baseUrl: string;
  apiKey?: string | undefined;
  model: string;
  /** Requests until an answer begins, the first one included. Default 3. */
  maxAttempts?: number | undefined;
  /** Milliseconds before the first retry when the server names none; doubled each time. Default 250. */
  retryDelayMs?: number | undefined;
  /** Milliseconds that a server may ask to wait; one that asks for more is not waited for. Default 10,000. */
  maxRetryAfterMs?: number | undefined;
}

export interface ChatRequest {
  messages: readonly ChatMessage[];
  maxTokens: number;
  temperature?: number | undefined;
}

/** Bytes of an error body that are read; the rest says nothing new. */
const errorBodyBytes = 8_192;

/** What servers disagree on, in the order of trying: left out or renamed once a server has refused it. */
type Quirk = 'stream_options' | 'temperature' | 'max_tokens';

/**
 * POSTs a chat completion and gives the response as soon as its head is there. Refused options that servers disagree
 * on are left out from then on; overload and broken connections are retried within bounds. Neither the key nor a
 * password in the URL ever gets into an error.
 */
export class ChatClient {
  /** The URL without user, password, query. */
  readonly shownUrl: string;
  readonly #endpoint: ChatEndpoint;
  readonly #url: URL;
  readonly #quirks = new Set<Quirk>();

  constructor(endpoint: ChatEndpoint) {
    this.#endpoint = endpoint;
    this.#url = new URL(endpoint.baseUrl);
    this.#url.pathname = `${this.#url.pathname.replace(/\/+$/, '')}/chat/completions`;
    this.shownUrl = this.#url.origin + this.#url.pathname;
  }

  /** @throws RagError LLM_UNAVAILABLE, LLM_REFUSED, or the signal's reason */
  async post(request: ChatRequest, signal: AbortSignal): Promise<Response> {
    const { maxAttempts = 3, retryDelayMs = 250 } = this.#endpoint;
    for (let attempt = 1; ; attempt += 1) {
      const outcome = await this.#tryOnce(request, signal);
      if (outcome instanceof Response) return outcome;
      const { error, retryAfterMs } = outcome;
      const waitMs = retryAfterMs ?? retryDelayMs * 2 ** (attempt - 1);
      const patient = waitMs <= (this.#endpoint.maxRetryAfterMs ?? 10_000);
      if (!error.retryable || attempt >= maxAttempts || !patient) throw error;
      try {
        await sleep(waitMs, undefined, { signal });
      } catch {
        throw RagError.from(signal.reason);
      }
    }
  }

  /** Text of the server without the key, should it have repeated it. */
  redacted(text: string): string {
    const { apiKey } = this.#endpoint;
    return apiKey ? text.replaceAll(apiKey, '[key]') : text;
  }

  async #tryOnce(
    request: ChatRequest,
    signal: AbortSignal,
  ): Promise<Response | { error: RagError; retryAfterMs?: number | undefined }> {
    let response: Response;
    try {
      response = await this.#fetch(request, signal);
    } catch (thrown) {
      if (signal.aborted) throw RagError.from(signal.reason);
      const message = `No answer from the chat API at ${this.shownUrl}: ${this.redacted(causeOf(thrown))}. Check LLM_BASE_URL and that the server runs.`;
      return { error: new RagError('LLM_UNAVAILABLE', message) };
    }
    if (response.ok) return response;
    const body = await readStart(response, errorBodyBytes);
    if (response.status === 400 || response.status === 422) {
      const quirk = this.#newQuirk(body);
      if (quirk) {
        this.#quirks.add(quirk);
        return this.#tryOnce(request, signal);
      }
    }
    const error = this.#refusal(response, body);
    return { error, retryAfterMs: retryAfter(response.headers.get('retry-after')) };
  }

  #fetch({ messages, maxTokens, temperature }: ChatRequest, signal: AbortSignal): Promise<Response> {
    const { apiKey, model } = this.#endpoint;
    const has = (quirk: Quirk) => this.#quirks.has(quirk);
    const body = {
      model,
      messages,
      stream: true,
      ...(has('stream_options') ? {} : { stream_options: { include_usage: true } }),
      ...(has('max_tokens') ? { max_completion_tokens: maxTokens } : { max_tokens: maxTokens }),
      ...(temperature === undefined || has('temperature') ? {} : { temperature }),
    };
    const headers: Record<string, string> = {
      'content-type': 'application/json',
      accept: 'text/event-stream, application/json',
      ...(apiKey ? { authorization: `Bearer ${apiKey}` } : {}),
    };
    // fetch refuses URLs that carry a password, so it goes where it belongs.
    const url = new URL(this.#url);
    if (url.username && !apiKey) {
      const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
      headers.authorization = `Basic ${Buffer.from(pair).toString('base64')}`;
    }
    url.username = '';
    url.password = '';
    // A redirected POST would arrive as a GET, and the key at another host.
    return fetch(url, { method: 'POST', redirect: 'manual', headers, body: JSON.stringify(body), signal });
  }

  #newQuirk(body: string): Quirk | undefined {
    const quirks: Quirk[] = ['stream_options', 'temperature', 'max_tokens'];
    return quirks.find((quirk) => body.includes(quirk) && !this.#quirks.has(quirk));
  }

  #refusal({ status, headers }: Response, body: string): RagError {
    const said = this.redacted(messageIn(body));
    const at = `The chat API at ${this.shownUrl}`;
    if (status === 401 || status === 403) {
      return new RagError(
        'LLM_REFUSED',
        `${at} does not accept the key (${status}${said}). Check LLM_API_KEY.`,
      );
    }
    if (status === 404) {
      const message = `${at} does not know this address or the model "${this.#endpoint.model}" (404${said}). Check LLM_BASE_URL and LLM_MODEL.`;
      return new RagError('LLM_REFUSED', message);
    }
    if (status === 429) {
      const after = headers.get('retry-after');
      const advice = after ? ` It asks to wait: ${this.redacted(after).slice(0, 40)}.` : '';
      return new RagError('LLM_UNAVAILABLE', `${at} has too many requests (429${said}).${advice}`);
    }
    if (status >= 300 && status < 400) {
      const target = this.redacted(headers.get('location') ?? 'nowhere').slice(0, 200);
      return new RagError(
        'LLM_REFUSED',
        `${at} redirects to ${target}; set LLM_BASE_URL to the final address.`,
      );
    }
    const reason = status >= 500 || status === 408 ? 'LLM_UNAVAILABLE' : 'LLM_REFUSED';
    return new RagError(reason, `${at} refused the request (${status}${said}).`);
  }
}

/** The text that an error body holds, led by a colon; servers put it into error.message, error, message or detail. */
function messageIn(body: string): string {
  let text = body;
  try {
    const json = JSON.parse(body) as Record<string, unknown>;
    const error = json.error ?? json.message ?? json.detail;
    const inner =
      typeof error === 'object' && error !== null ? (error as Record<string, unknown>).message : error;
    if (typeof inner === 'string') text = inner;
  } catch {
    // Not JSON: a proxy's page, told as it is.
  }
  const line = text.replaceAll(/\s+/g, ' ').trim().slice(0, 300);
  return line ? `: ${line}` : '';
}

/** Milliseconds that a Retry-After header asks for: seconds, or a date. */
function retryAfter(header: string | null): number | undefined {
  if (!header) return undefined;
  const ms = /^\d+(\.\d+)?$/.test(header.trim()) ? Number(header) * 1_000 : Date.parse(header) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

/** The start of a body; the rest is not waited for. */
async function readStart(response: Response, bytes: number): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const part of response.body ?? []) {
      parts.push(part);
      size += part.byteLength;
      if (size >= bytes) break;
    }
  } catch {
    // A body that breaks off still has a status, and that is what counts.
  }
  return Buffer.concat(parts).subarray(0, bytes).toString('utf8');
}

/** fetch hides what went wrong ("fetch failed") in the cause. */
function causeOf(thrown: unknown): string {
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  if (!(cause instanceof Error)) return String(cause);
  return cause.message || ('code' in cause ? String(cause.code) : cause.name);
}
