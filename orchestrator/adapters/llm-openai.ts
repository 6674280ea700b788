import { RagError } from '../errors.ts';
import type { CallOptions, ChatMessage, Llm, LlmUsage } from '../ports.ts';
import type { ChatEndpoint } from './chat-request.ts';
import { ChatClient } from './chat-request.ts';
import type { ChatChunk } from './chat-stream.ts';
import { readChunks } from './chat-stream.ts';

export interface LlmOptions extends ChatEndpoint {
  /** Milliseconds without a piece of the answer after which the server is given up. Default 60,000. */
  idleTimeoutMs?: number | undefined;
}

/** Characters of one answer at most, whatever the server thinks of `max_tokens`. */
const maxAnswerLength = 1_000_000;

/** A chat model behind any OpenAI-compatible API. */
export function openLlm(options: LlmOptions): Llm {
  const client = new ChatClient(options);
  const idleTimeoutMs = options.idleTimeoutMs ?? 60_000;
  return {
    model: options.model,
    stream: (messages, streamOptions) => stream(client, messages, { ...streamOptions, idleTimeoutMs }),
  };
}

interface StreamOptions extends CallOptions {
  maxTokens: number;
  temperature?: number;
  idleTimeoutMs: number;
}

async function* stream(
  client: ChatClient,
  messages: readonly ChatMessage[],
  options: StreamOptions,
): AsyncGenerator<string, LlmUsage | undefined> {
  const patience = new Patience(client.shownUrl, options);
  const answer = new AnswerState(client);
  try {
    patience.signal.throwIfAborted();
    const { maxTokens, temperature } = options;
    const response = await client.post({ messages, maxTokens, temperature }, patience.signal);
    const chunks = readChunks(response, `The chat API at ${client.shownUrl}`);
    for (;;) {
      patience.renew();
      const next = await chunks.next();
      if (next.done) return answer.end(next.value);
      const text = answer.take(next.value);
      // The time that the consumer takes is not the server's.
      patience.pause();
      if (text) yield text;
    }
  } catch (thrown) {
    if (patience.signal.aborted) throw RagError.from(patience.signal.reason);
    throw thrown instanceof RagError ? thrown : answer.cut(thrown);
  } finally {
    patience.stop();
  }
}

/** What has come so far of one answer. */
class AnswerState {
  readonly #client: ChatClient;
  #length = 0;
  #finish: string | undefined;
  #usage: LlmUsage | undefined;

  constructor(client: ChatClient) {
    this.#client = client;
  }

  /** The text that a message brings. */
  take({ choices, usage, error }: ChatChunk): string {
    if (error) {
      const said = (typeof error === 'string' ? error : error.message) ?? 'no reason given';
      throw this.#unavailable(`reported an error: ${this.#client.redacted(said).slice(0, 300)}`);
    }
    if (usage) {
      const { prompt_tokens, completion_tokens } = usage;
      this.#usage = {
        promptTokens: prompt_tokens ?? undefined,
        completionTokens: completion_tokens ?? undefined,
      };
    }
    const choice = choices?.[0];
    this.#finish = choice?.finish_reason ?? this.#finish;
    const text = choice?.delta?.content ?? choice?.message?.content ?? '';
    this.#length += text.length;
    if (this.#length > maxAnswerLength) {
      const message = `The chat API at ${this.#client.shownUrl} went on for more than ${maxAnswerLength} characters.`;
      throw new RagError('LLM_REFUSED', message);
    }
    return text;
  }

  /** Some servers never say [DONE]; then the finish reason tells a whole answer from a cut one. */
  end(how: 'done' | 'ended'): LlmUsage | undefined {
    if (how === 'ended' && this.#finish === undefined) throw this.#unavailable('ended the reply early');
    return this.#finish === 'length' ? { ...this.#usage, truncated: true } : this.#usage;
  }

  /** The connection broke. */
  cut(thrown: unknown): RagError {
    const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
    const why = cause instanceof Error ? cause.message : String(cause);
    return this.#unavailable(`broke off: ${this.#client.redacted(why)}`);
  }

  #unavailable(what: string): RagError {
    const far =
      this.#length > 0 ? ` The answer is incomplete: it stops after ${this.#length} characters.` : '';
    return new RagError('LLM_UNAVAILABLE', `The chat API at ${this.#client.shownUrl} ${what}.${far}`);
  }
}

/** One signal for the caller's end and for a server that has gone silent. */
class Patience {
  readonly signal: AbortSignal;
  readonly #silent = new AbortController();
  readonly #idleTimeoutMs: number;
  readonly #message: string;
  #timer: NodeJS.Timeout | undefined;

  constructor(url: string, { signal, idleTimeoutMs }: StreamOptions) {
    this.#idleTimeoutMs = idleTimeoutMs;
    this.#message = `The chat API at ${url} sent no part of an answer for ${idleTimeoutMs} ms.`;
    this.signal = signal ? AbortSignal.any([signal, this.#silent.signal]) : this.#silent.signal;
    this.renew();
  }

  renew(): void {
    this.pause();
    const giveUp = () => this.#silent.abort(new RagError('LLM_UNAVAILABLE', this.#message));
    this.#timer = setTimeout(giveUp, this.#idleTimeoutMs);
  }

  pause(): void {
    clearTimeout(this.#timer);
  }

  /** Ends the request, if it still runs. */
  stop(): void {
    this.pause();
    this.#silent.abort();
  }
}
