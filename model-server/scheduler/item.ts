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
  signal?: AbortSignal | undefined;
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
  readonly #signal: AbortSignal | undefined;
  readonly #onSettled: (item: Item) => void;
  readonly #onAbort = () => this.settle(cancelled(this.#signal));
  #isSettled = false;

  constructor(options: ItemOptions) {
    this.row = options.row;
    this.reduction = options.reduction;
    this.tokens = options.row.ids.length;
    this.enqueuedUs = options.enqueuedUs;
    this.deadlineUs = options.deadlineUs ?? Number.POSITIVE_INFINITY;
    this.promise = this.#settled.promise;
    this.#signal = options.signal;
    this.#onSettled = options.onSettled;
    if (this.#signal?.aborted) this.#onAbort();
    else this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** The first outcome counts; later ones are forgotten, so that the reply to a cancelled item is dropped. */
  settle(outcome: ItemResult | ServingError): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    if (outcome instanceof ServingError) this.#settled.reject(outcome);
    else this.#settled.resolve(outcome);
    this.#onSettled(this);
  }
}

function cancelled(signal: AbortSignal | undefined): ServingError {
  const reason: unknown = signal?.reason;
  return reason instanceof ServingError
    ? reason
    : new ServingError('CANCELLED', 'The caller cancelled the request.');
}
