import type { IncomingMessage, ServerResponse } from 'node:http';
import { RagError } from '../errors.ts';

/** Whether the headers announce a body. */
export function hasBody(request: IncomingMessage): boolean {
  const length = request.headers['content-length'];
  return request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}

/** Bytes that the headers announce; undefined when the body comes in chunks. */
export function announcedBytes(request: IncomingMessage): number | undefined {
  const length = request.headers['content-length'];
  return length === undefined ? undefined : Number(length);
}

/** Tells a caller who asked first (`Expect: 100-continue`) to send its body now. */
export function welcomeBody(request: IncomingMessage, response: ServerResponse): void {
  if (/100-continue/i.test(request.headers.expect ?? '')) response.writeContinue();
}

/** Memory for bodies that are held whole. Callers beyond it are refused, not queued. */
export class BodyBudget {
  readonly #bytes: number;
  #held = 0;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  /**
   * Takes part of the memory until it is disposed of.
   * @throws RagError QUEUE_FULL
   */
  hold(bytes: number): Disposable {
    if (this.#held + bytes > this.#bytes) {
      const message = `Other requests with ${this.#held} bytes of JSON are in work, and ${this.#bytes} are the limit for all together. Try again in a moment.`;
      throw new RagError('QUEUE_FULL', message);
    }
    this.#held += bytes;
    return {
      [Symbol.dispose]: () => {
        this.#held -= bytes;
      },
    };
  }
}
