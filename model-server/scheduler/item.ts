import { ServingError } from '../errors.ts';
import type { Reduction, TokenRow } from '../types.ts';

/** What one input got. `output` is as its reduction says. */
export interface ItemResult {
  output: Float32Array;
  queueUs: number;
  computeUs: number;
  postUs: number;
}

export interface ItemOptions {
  row: TokenRow;
  reduction: Reduction;
  enqueuedUs: number;
  /** On the scheduler's clock. */
  deadlineUs?: number | undefined;
  /** Called once, after the item has been settled. */
  onSettled: (item: Item) => void;
}

/** One input on its way through the scheduler; settled exactly once: result, error, cancelled or deadline. */
export class Item {
  readonly row: TokenRow;
  readonly reduction: Reduction;
  readonly tokens: number;
  readonly enqueuedUs: number;
  readonly deadlineUs: number;
  readonly promise: Promise<ItemResult>;
  readonly #settled = Promise.withResolvers<ItemResult>();
  readonly #onSettled: (item: Item) => void;
  #isSettled = false;

  constructor(options: ItemOptions) {
    this.row = options.row;
    this.reduction = options.reduction;
    this.tokens = options.row.ids.length;
    this.enqueuedUs = options.enqueuedUs;
    this.deadlineUs = options.deadlineUs ?? Number.POSITIVE_INFINITY;
    this.promise = this.#settled.promise;
    this.#onSettled = options.onSettled;
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** The first outcome counts; later ones are forgotten, so that the reply to a cancelled item is dropped. */
  settle(outcome: ItemResult | ServingError): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    if (outcome instanceof ServingError) this.#settled.reject(outcome);
    else this.#settled.resolve(outcome);
    this.#onSettled(this);
  }
}

/**
 * Settles the items of one call when its signal aborts. One listener serves them all: adding one for each would take time
 * that grows with the square of their number.
 */
export function cancelTogether(items: readonly Item[], signal: AbortSignal | undefined): void {
  if (signal === undefined || items.length === 0) return;
  const cancel = () => {
    for (const item of items) item.settle(cancelled(signal));
  };
  if (signal.aborted) {
    cancel();
    return;
  }
  signal.addEventListener('abort', cancel, { once: true });
  const forget = () => signal.removeEventListener('abort', cancel);
  Promise.allSettled(items.map((item) => item.promise)).then(forget);
}

function cancelled(signal: AbortSignal): ServingError {
  const reason: unknown = signal.reason;
  return reason instanceof ServingError
    ? reason
    : new ServingError('CANCELLED', 'The caller cancelled the request.');
}
