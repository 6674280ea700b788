import { ServingError } from '../errors.ts';
import { FairQueue, type Shared } from './fair-queue.ts';
import { PRIORITIES, type Priority } from './priority.ts';

export interface QueueLimits {
  maxItems: number;
  /** Sum of the items' tokens at most. */
  maxTokens: number;
  /** Sum of the raw tensors' bytes at most; 256 MiB when absent. */
  maxBytes?: number | undefined;
}

/** What a queue has to know of an item. */
interface Queued extends Shared {
  readonly priority: Priority;
  readonly tokens: number;
  /** Bytes of raw tensors. */
  readonly bytes: number;
  readonly rows: number;
  readonly enqueuedUs: number;
}

/** What a call would add to a queue. */
export interface Addition {
  priority: Priority;
  items: number;
  tokens?: number;
  bytes?: number;
}

const DEFAULT_MAX_BYTES = 256 * 2 ** 20;
/** A priority that waits gets a batch at least this often, however much is more urgent. */
const STARVED_US = 1_000_000;

/**
 * What waits for one model: the more urgent priority first, within a priority fairly by tenant. Bounded in items, tokens and
 * bytes; less urgent work does not count against more urgent work, so that a full bulk queue refuses nobody else. Removal
 * from anywhere takes constant time.
 */
export class BoundedQueue<T extends Queued> {
  readonly #byPriority: Readonly<Record<Priority, FairQueue<T>>> = {
    interactive: new FairQueue(),
    default: new FairQueue(),
    bulk: new FairQueue(),
  };
  /** When each priority was last given a batch, or began to wait. */
  readonly #servedUs: Record<Priority, number> = { interactive: 0, default: 0, bulk: 0 };
  readonly #tokens: Record<Priority, number> = { interactive: 0, default: 0, bulk: 0 };
  readonly #limits: QueueLimits;
  readonly #owner: string;
  #tensorRows = 0;
  #bytes = 0;

  constructor(limits: QueueLimits, owner: string) {
    this.#limits = limits;
    this.#owner = owner;
  }

  get size(): number {
    return this.#sum((each) => this.#byPriority[each].size, 'bulk');
  }

  /** Items that wait and are no bulk. */
  get urgentSize(): number {
    return this.#sum((each) => this.#byPriority[each].size, 'default');
  }

  /** Tokens of the only item that waits; below 0 when none does, or several. */
  get soleTokens(): number {
    return this.size === 1 ? this.tokens : -1;
  }

  /** Tokens that wait. */
  get tokens(): number {
    return this.#sum((each) => this.#tokens[each], 'bulk');
  }

  /** Rows of raw tensors that wait. */
  get tensorRows(): number {
    return this.#tensorRows;
  }

  /** All that wait; the more urgent first, then in order of arrival. */
  get items(): T[] {
    return PRIORITIES.flatMap((priority) => [...this.#byPriority[priority].items]);
  }

  /**
   * Makes sure that these would fit; a call's inputs are admitted together or not at all.
   * @throws ServingError QUEUE_FULL
   */
  admit({ priority, items, tokens = 0, bytes = 0 }: Addition, retryAfterMs: () => number): void {
    const { maxItems, maxTokens, maxBytes = DEFAULT_MAX_BYTES } = this.#limits;
    const waiting = this.#sum((each) => this.#byPriority[each].size, priority);
    // What would not fit into an empty queue is let in alone: refusing it would mean refusing it for ever.
    if (waiting === 0) return;
    const waitingTokens = this.#sum((each) => this.#tokens[each], priority);
    const tooMany = waiting + items > maxItems || waitingTokens + tokens > maxTokens;
    if (!tooMany && this.#bytes + bytes <= maxBytes) return;
    const after = retryAfterMs();
    const what = tooMany
      ? `${waiting} inputs with ${waitingTokens} tokens wait, ${items} more with ${tokens} tokens do not fit (limits: ${maxItems} inputs, ${maxTokens} tokens)`
      : `raw tensors of ${this.#bytes} bytes wait, ${bytes} bytes more do not fit (limit: ${maxBytes} bytes)`;
    throw new ServingError(
      'QUEUE_FULL',
      `${this.#owner}: the queue is full: ${what}. Try again in about ${after} ms.`,
      { retryAfterMs: after },
    );
  }

  push(item: T): void {
    const queue = this.#byPriority[item.priority];
    if (queue.size === 0) this.#servedUs[item.priority] = item.enqueuedUs;
    queue.push(item);
    this.#count(item, 1);
  }

  /** @returns whether the item was waiting */
  remove(item: T): boolean {
    const waited = this.#byPriority[item.priority].remove(item);
    if (waited) this.#count(item, -1);
    return waited;
  }

  /**
   * The next item first, then at most `count` in all that may go along, of the same priority: company makes a batch longer,
   * and urgent work must not wait for work that is not. They stay in the queue.
   */
  window(count: number, nowUs: number): T[] {
    const waiting = PRIORITIES.filter((priority) => this.#byPriority[priority].size > 0);
    const [most, ...others] = waiting;
    if (most === undefined) return [];
    const starved = others.find((priority) => nowUs - this.#servedUs[priority] >= STARVED_US);
    return this.#byPriority[starved ?? most].window(count);
  }

  /** Takes out what is given its turn now; all of it has one priority. */
  give(items: readonly T[], nowUs: number): void {
    const [first] = items;
    if (first === undefined) return;
    const queue = this.#byPriority[first.priority];
    this.#servedUs[first.priority] = nowUs;
    // What is tried again alone has had its turn.
    const waiting = items.filter((item) => queue.items.has(item));
    for (const item of waiting) this.#count(item, -1);
    queue.give(waiting);
  }

  /** Tokens that will have been computed when a newcomer with so many is done, as far as one can tell now. */
  aheadTokens({ priority, tenant }: { priority: Priority; tenant: string }, tokens: number): number {
    const own = this.#byPriority[priority];
    const urgent = this.#sum((each) => this.#byPriority[each].waitingWeight, priority) - own.waitingWeight;
    return urgent + own.aheadTokens(tenant, tokens);
  }

  /** Over this priority and all that are more urgent. */
  #sum(of: (priority: Priority) => number, priority: Priority): number {
    let sum = 0;
    for (const each of PRIORITIES) {
      sum += of(each);
      if (each === priority) break;
    }
    return sum;
  }

  #count(item: T, sign: 1 | -1): void {
    this.#tokens[item.priority] += sign * item.tokens;
    this.#bytes += sign * item.bytes;
    if (item.bytes > 0) this.#tensorRows += sign * item.rows;
  }
}
