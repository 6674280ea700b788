import { EventSourceParserStream } from 'eventsource-parser/stream';
import { ApiFailure, failureOf, unreachable } from './api-failure.ts';

export interface RequestOptions {
  method?: 'GET' | 'POST' | 'DELETE' | undefined;
  /** Sent as JSON, or as multipart when it is a form. */
  body?: object | FormData | undefined;
  signal?: AbortSignal | undefined;
}

/** One server-sent event. */
export interface ServerEvent {
  name: string;
  data: unknown;
}

/** The HTTP API of a running orchestrator. */
export class Orchestrator {
  readonly url: string;

  constructor(url: string) {
    this.url = url.replace(/\/+$/, '');
  }

  /**
   * One request with a JSON answer.
   * @throws ApiFailure
   */
  async call(path: string, options: RequestOptions = {}): Promise<unknown> {
    const response = await this.#send(path, options, 'application/json');
    const text = await response.text().catch((error: unknown) => {
      throw unreachable(this.url, error);
    });
    return text === '' ? undefined : JSON.parse(text);
  }

  /**
   * One request answered by server-sent events, until the stream ends.
   * @throws ApiFailure also when the connection breaks halfway
   */
  async *events(path: string, options: RequestOptions = {}): AsyncGenerator<ServerEvent, void> {
    const response = await this.#send(path, options, 'text/event-stream');
    if (response.body === null)
      throw new ApiFailure('UNEXPECTED_ANSWER', `${this.url}${path} sent no events.`);
    const events = response.body
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new EventSourceParserStream());
    try {
      for await (const { event, data } of events)
        yield { name: event ?? 'message', data: JSON.parse(data) as unknown };
    } catch (error) {
      throw unreachable(this.url, error);
    }
  }

  async #send(
    path: string,
    { method = 'GET', body, signal }: RequestOptions,
    accept: string,
  ): Promise<Response> {
    const json = body !== undefined && !(body instanceof FormData);
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { accept, ...(json ? { 'content-type': 'application/json' } : {}) },
      ...(body === undefined ? {} : { body: json ? JSON.stringify(body) : (body as FormData) }),
      ...(signal === undefined ? {} : { signal }),
    }).catch((error: unknown) => {
      throw unreachable(this.url, error);
    });
    if (!response.ok) throw await failureOf(response);
    return response;
  }
}
