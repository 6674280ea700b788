import { ServingError } from '../errors.ts';
import type { RawTensor, Reduction, TokenRow } from '../types.ts';
import type { Priority } from './priority.ts';
import { type TensorCall, tensorKey } from './tensor-call.ts';

/** Where the time of one input went. */
export interface ItemTimings {
  queueUs: number;
  computeUs: number;
  postUs: number;
}

/** What one text got. `output` is as its reduction says. */
export interface ItemResult extends ItemTimings {
  output: Float32Array;
}

/** What one call with raw tensors got: the wanted outputs, in the order in which it named them. */
export interface TensorResult extends ItemTimings {
  tensors: RawTensor[];
}

export interface ItemOptions {
  enqueuedUs: number;
  /** `default` when absent. */
  priority?: Priority | undefined;
  tenant?: string | undefined;
  /** Microseconds from its arrival until it was expected to be done, where that was asked. */
  expectedUs?: number | undefined;
  /** On the scheduler's clock. */
  deadlineUs?: number | undefined;
  /** Called once, after the item has been settled. */
  onSettled: (item: Item) => void;
}

/** One input on its way through the scheduler; settled exactly once: result, error, cancelled or deadline. */
class Settleable<Result> {
  readonly enqueuedUs: number;
  readonly deadlineUs: number;
  readonly priority: Priority;
  readonly tenant: string;
  readonly expectedUs: number | undefined;
  readonly promise: Promise<Result>;
  readonly #settled = Promise.withResolvers<Result>();
  readonly #onSettled: (item: Item) => void;
  #isSettled = false;

  constructor(options: ItemOptions) {
    this.enqueuedUs = options.enqueuedUs;
    this.deadlineUs = options.deadlineUs ?? Number.POSITIVE_INFINITY;
    this.priority = options.priority ?? 'default';
    this.tenant = options.tenant ?? '';
    this.expectedUs = options.expectedUs;
    this.promise = this.#settled.promise;
    this.#onSettled = options.onSettled;
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** The first outcome counts; later ones are forgotten, so that the reply to a cancelled item is dropped. */
  settle(outcome: Result | ServingError): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    if (outcome instanceof ServingError) this.#settled.reject(outcome);
    else this.#settled.resolve(outcome);
    this.#onSettled(this as unknown as Item);
  }
}

/** One text. */
export class TextItem extends Settleable<ItemResult> {
  readonly kind = 'text';
  readonly row: TokenRow;
  readonly reduction: Reduction;
  readonly tokens: number;
  readonly rows = 1;
  readonly bytes = 0;
  /** What it counts for where tenants share, in tokens. */
  readonly weight: number;

  constructor(input: { row: TokenRow; reduction: Reduction }, options: ItemOptions) {
    super(options);
    this.row = input.row;
    this.reduction = input.reduction;
    this.tokens = input.row.ids.length;
    // A text without tokens is work all the same.
    this.weight = Math.max(1, this.tokens);
  }
}

/** A token as raw tensors: three int64. */
const BYTES_PER_TOKEN = 24;

/** The tensors of one call. */
export class TensorItem extends Settleable<TensorResult> {
  readonly kind = 'tensors';
  readonly call: TensorCall;
  /** Calls of one key may be joined. */
  readonly key: string;
  readonly tokens = 0;
  readonly rows: number;
  readonly bytes: number;
  /** What it counts for where tenants share, in tokens as far as bytes can tell. */
  readonly weight: number;

  constructor(call: TensorCall, options: ItemOptions) {
    super(options);
    this.call = call;
    this.key = tensorKey(call);
    this.rows = call.rows;
    this.bytes = call.inputs.reduce((sum, input) => sum + input.data.byteLength, 0);
    this.weight = Math.max(this.rows, Math.ceil(this.bytes / BYTES_PER_TOKEN));
  }
}

export type Item = TextItem | TensorItem;

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
