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

/** Element types, in the wire names of the Open Inference Protocol. BYTES elements are strings or blobs. */
export type DataType =
  | 'BOOL'
  | 'UINT8'
  | 'UINT16'
  | 'UINT32'
  | 'UINT64'
  | 'INT8'
  | 'INT16'
  | 'INT32'
  | 'INT64'
  | 'FP16'
  | 'BF16'
  | 'FP32'
  | 'FP64'
  | 'BYTES';

/** An input or output as the model declares it; -1 stands for any length. */
export interface TensorSpec {
  name: string;
  dataType: DataType;
  shape: number[];
}

/** A tensor as it travels: little-endian values in row-major order; BYTES elements are 4 bytes of length, then the bytes. */
export interface RawTensor {
  name: string;
  dataType: DataType;
  shape: number[];
  data: Uint8Array;
}

/** A batch of texts on its way to a worker. `tokens` is transferred, not copied. */
export interface TokenBatch {
  kind: 'tokens';
  rows: number;
  /** int32, without padding: the ids of all rows one after another; then, when a row has any, the type ids alike. */
  tokens: ArrayBuffer;
  /** Tokens of each row. */
  lengths: Int32Array;
  reductions: Reduction[];
}

/** A batch of raw tensors on its way to a worker, already joined along the batch dimension. */
export interface TensorBatch {
  kind: 'tensors';
  /** Length of the batch dimension; for a model without one it is 1. */
  rows: number;
  inputs: RawTensor[];
  /** Names of the outputs to compute. */
  outputs: string[];
}

export type Batch = TokenBatch | TensorBatch;

export interface BatchResult {
  /** For texts: one array per row, as its reduction says; all are views of one buffer. */
  outputs: Float32Array[];
  /** For raw tensors: the outputs of the whole batch. */
  tensors: RawTensor[];
  computeUs: number;
  postUs: number;
}

/** What a session serves, where and how it runs. */
export interface SessionSettings {
  modelFile: string;
  /** Whether texts are served; raw tensors always are. */
  text: boolean;
  /** The output that texts are served from; the first of the usual ones when absent. */
  outputName?: string | undefined;
  intraOpThreads: number;
  /** 1 when absent. */
  interOpThreads?: number | undefined;
  /** `sequential` when absent. */
  executionMode?: 'sequential' | 'parallel' | undefined;
  /** Whether the CPU allocator keeps memory between runs; true when absent. */
  memArena?: boolean | undefined;
  /** `all` when absent. */
  graphLevel?: 'disabled' | 'basic' | 'extended' | 'all' | undefined;
  /** The wanted execution provider; `cpu` when absent. */
  provider?: string | undefined;
  /** Which GPU, for providers that know several. */
  deviceId?: number | undefined;
  /** Whether another provider than the wanted one is an error. */
  providerRequired?: boolean | undefined;
  /**
   * Whether threads go on spinning for a while after a run, for the next one to find them awake; true when absent. They
   * take the cores from other instances meanwhile.
   */
  spinsBetweenRuns?: boolean | undefined;
  /** Whether texts run without padding where that is possible; `auto` when absent. */
  packing?: 'auto' | 'off' | undefined;
}

/** What a loaded session says of itself. */
export interface BackendInfo {
  inputs: TensorSpec[];
  outputs: TensorSpec[];
  /** Absent when the model is no text encoder; it then serves raw tensors only. */
  text: TextHead | undefined;
  executionProvider: string;
}

/** What the output that texts are served from looks like. */
export interface TextHead {
  output: string;
  /** Width of the token states or of a pooled vector; 0 for classifiers. */
  dimension: number;
  /** Labels of a classification head; 0 for embedders. */
  labels: number;
  /** Whether there is a state for every token, which late interaction needs. */
  perToken: boolean;
  /**
   * Whether batches run without padding. A batch of R texts, N tokens in all and L in the longest, then costs N tokens in
   * dense layers and R x L x L cells in attention; else every text costs as much as the longest.
   */
  packed: boolean;
  /** Why they do not; empty when they do. */
  whyPadded: string;
}

export interface InstanceState {
  /** cpu, or gpu:<index>. */
  device: string;
  executionProvider: string;
  threads: number;
  state: 'starting' | 'idle' | 'busy' | 'crashed' | 'unhealthy' | 'closed';
  isolation: 'thread' | 'process';
  /** What was wanted and what was got, when that differs; of one that has died, why; else empty. */
  note: string;
}

/** One loaded instance that runs one batch at a time and may hold one more. */
export interface Executor {
  /** Whether it is the wider one for lone requests: what its batches take says nothing about the other instances. */
  readonly isLone?: boolean;
  /**
   * @param expectedUs what the batch should take, where that is known: an instance is given many times as long before it is
   * held for dead, however long the batch is
   * @throws ServingError EXECUTOR_CRASHED when its worker dies, BATCH_FAILED when the backend refuses the batch.
   */
  run(batch: Batch, expectedUs?: number): Promise<BatchResult>;
}

/** The instances of one model version, as the scheduler sees them. */
export interface ExecutorPool {
  /**
   * A free instance, or undefined when all are busy. It is busy from the moment its `run` is called.
   * @param isAlone whether the next batch is one input that is all the work there is: nothing else waits or runs. A pool
   * with a wider instance for lone requests gives that one out then, unless any instance is busy; it gives it out in no
   * other case, and counts it neither in `free` nor in `prefetch`.
   */
  take(isAlone?: boolean): Executor | undefined;
  /**
   * The busy instance that is likely to be free next, to hand it its next batch already; undefined when a batch has been
   * handed over like that and has not begun yet.
   */
  prefetch(): Executor | undefined;
  /** Tokens that a lone text must have for `take` to be told that it is alone: below, others are done sooner with it. */
  readonly loneTokens: number;
  /** How many instances are free. */
  readonly free: number;
  /** Set when no instance is left and none will come back. */
  readonly failure: Error | undefined;
  /** Called when an instance has become free, or when the pool has failed for good. */
  onChange(listener: () => void): void;
}
