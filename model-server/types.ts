/** The vocabulary that scheduler, executor, tasks and backend share. */

/** The tokens of one input, special tokens included. `typeIds` is absent when all of them are 0. */
export interface TokenRow {
  ids: Int32Array;
  typeIds?: Int32Array | undefined;
}

/** What one input wants from the forward pass; inputs that want different things share a batch. */
export type Reduction =
  /** One pooled (and, if the model says so, unit-length) vector: [dimension]. */
  | { kind: 'pooled' }
  /** Every token's state at unit length: [tokens, dimension]. */
  | { kind: 'tokens' }
  /** Mean over the query's token states of the best cosine with a token of this input: [1]. */
  | { kind: 'maxsim'; query: Float32Array }
  /** The classification head's outputs: [labels]. */
  | { kind: 'logits' };

export type Pooling = 'mean' | 'cls' | 'max';

/** One batch on its way to a worker. `tokens` is transferred, not copied. */
export interface Batch {
  rows: number;
  /** Padded length of every row. */
  length: number;
  /** int64 planes [ids, mask, typeIds], each rows x length, little-endian. */
  tokens: ArrayBuffer;
  /** Tokens of each row without padding. */
  lengths: Int32Array;
  reductions: Reduction[];
}

export interface BatchResult {
  /** One array per row, as its reduction says; all are views of one buffer. */
  outputs: Float32Array[];
  computeUs: number;
  postUs: number;
}

/** What a loaded session says of itself. */
export interface BackendInfo {
  inputs: string[];
  outputs: string[];
  /** Width of the token states or of a pooled vector; 0 for classifiers. */
  dimension: number;
  /** Labels of a classification head; 0 for embedders. */
  labels: number;
  /** Whether there is a state for every token, which late interaction needs. */
  perToken: boolean;
  executionProvider: string;
}

export interface InstanceState {
  device: string;
  executionProvider: string;
  threads: number;
  state: 'starting' | 'idle' | 'busy' | 'crashed' | 'closed';
}

/** One loaded instance that runs one batch at a time and may hold one more. */
export interface Executor {
  /** @throws ServingError EXECUTOR_CRASHED when its worker dies, BATCH_FAILED when the backend refuses the batch. */
  run(batch: Batch): Promise<BatchResult>;
}

/** The instances of one model version, as the scheduler sees them. */
export interface ExecutorPool {
  /** A free instance, or undefined when all are busy. It is busy from the moment its `run` is called. */
  take(): Executor | undefined;
  /**
   * The busy instance that is likely to be free next, to hand it its next batch already; undefined when a batch has been
   * handed over like that and has not begun yet.
   */
  prefetch(): Executor | undefined;
  /** How many instances are free. */
  readonly free: number;
  /** Set when no instance is left and none will come back. */
  readonly failure: Error | undefined;
  /** Called when an instance has become free, or when the pool has failed for good. */
  onChange(listener: () => void): void;
}
