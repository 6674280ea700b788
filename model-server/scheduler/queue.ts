import { ServingError } from '../errors.ts';

export interface QueueLimits {
  maxItems: number;
  /** Sum of the items' tokens at most. */
  maxTokens: number;
  /** Sum of the raw tensors' bytes at most; 256 MiB when absent. */
  maxBytes?: number | undefined;
}

/** What an item takes of a queue's limits. */
interface Queued {
  readonly tokens: number;
  /** Bytes of raw tensors. */
  readonly bytes: number;
  readonly rows: number;
}

const DEFAULT_MAX_BYTES = 256 * 2 ** 20;

/** First in, first out, bounded in items, tokens and bytes, with removal from anywhere in constant time. */
export class BoundedQueue<T extends Queued> {
  // A Set iterates in order of insertion and deletes in constant time: a queue with cancel.
  readonly #items = new Set<T>();
  readonly #limits: QueueLimits;
  readonly #owner: string;
  #tokens = 0;
  #bytes = 0;
  #tensorRows = 0;

  constructor(limits: QueueLimits, owner: string) {
    this.#limits = limits;
    this.#owner = owner;
  }

  get size(): number {
    return this.#items.size;
  }

  /** Tokens that wait. */
  get tokens(): number {
    return this.#tokens;
  }

  /** Rows of raw tensors that wait. */
  get tensorRows(): number {
    return this.#tensorRows;
  }

  /**
   * Makes sure that these would fit; a call's inputs are admitted together or not at all.
   * @throws ServingError QUEUE_FULL
   */
  admit(
    { items, tokens = 0, bytes = 0 }: { items: number; tokens?: number; bytes?: number },
    retryAfterMs: () => number,
  ): void {
    const { maxItems, maxTokens, maxBytes = DEFAULT_MAX_BYTES } = this.#limits;
    // What would not fit into an empty queue is let in alone: refusing it would mean refusing it for ever.
    if (this.#items.size === 0) return;
    const tooMany = this.#items.size + items > maxItems || this.#tokens + tokens > maxTokens;
    if (!tooMany && this.#bytes + bytes <= maxBytes) return;
    const after = retryAfterMs();
    const what = tooMany
      ? `${this.#items.size} inputs with ${this.#tokens} tokens wait, ${items} more with ${tokens} tokens do not fit (limits: ${maxItems} inputs, ${maxTokens} tokens)`
      : `raw tensors of ${this.#bytes} bytes wait, ${bytes} bytes more do not fit (limit: ${maxBytes} bytes)`;
    throw new ServingError(
      'QUEUE_FULL',
      `${this.#owner}: the queue is full: ${what}. Try again in about ${after} ms.`,
      { retryAfterMs: after },
    );
  }

  push(item: T): void {
    this.#items.add(item);
    this.#count(item, 1);
  }

  /** @returns whether the item was waiting */
  remove(item: T): boolean {
    const waited = this.#items.delete(item);
    if (waited) this.#count(item, -1);
    return waited;
  }

  /** The oldest `count` items, oldest first; they stay in the queue. */
  window(count: number): T[] {
    const window: T[] = [];
    for (const item of this.#items) {
      if (window.length >= count) break;
      window.push(item);
    }
    return window;
  }

  #count(item: T, sign: 1 | -1): void {
    this.#tokens += sign * item.tokens;
    this.#bytes += sign * item.bytes;
    if (item.bytes > 0) this.#tensorRows += sign * item.rows;
  }
}
