import { ServingError } from '../errors.ts';

export interface QueueLimits {
  maxItems: number;
  /** Sum of the items' tokens at most. */
  maxTokens: number;
}

/** First in, first out, bounded in items and tokens, with removal from anywhere in constant time. */
export class BoundedQueue<T extends { readonly tokens: number }> {
  // A Set iterates in order of insertion and deletes in constant time: a queue with cancel.
  readonly #items = new Set<T>();
  readonly #limits: QueueLimits;
  readonly #owner: string;
  #tokens = 0;

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

  /**
   * Makes sure that these would fit; a call's inputs are admitted together or not at all.
   * @throws ServingError QUEUE_FULL
   */
  admit(items: number, tokens: number, retryAfterMs: () => number): void {
    const { maxItems, maxTokens } = this.#limits;
    // What would not fit into an empty queue is let in alone: refusing it would mean refusing it for ever.
    if (this.#items.size === 0) return;
    if (this.#items.size + items > maxItems || this.#tokens + tokens > maxTokens) {
      const after = retryAfterMs();
      throw new ServingError(
        'QUEUE_FULL',
        `${this.#owner}: the queue is full: ${this.#items.size} texts with ${this.#tokens} tokens wait, ${items} more with ${tokens} tokens do not fit (limits: ${maxItems} texts, ${maxTokens} tokens). Try again in about ${after} ms.`,
        { retryAfterMs: after },
      );
    }
  }

  push(item: T): void {
    this.#items.add(item);
    this.#tokens += item.tokens;
  }

  /** @returns whether the item was waiting */
  remove(item: T): boolean {
    const waited = this.#items.delete(item);
    if (waited) this.#tokens -= item.tokens;
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
}
