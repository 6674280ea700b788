import type { BackendInfo, Batch, Pooling, RawTensor } from '../types.ts';

/** What a worker needs to open its session. */
export interface WorkerOptions {
  modelFile: string;
  pooling: Pooling;
  normalize: boolean;
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
}

export type ToWorker =
  | { type: 'open'; options: WorkerOptions }
  | { type: 'run'; batch: Batch }
  | { type: 'close' };

/** `residentBytes` is what the process of the worker takes; undefined for a thread, which has no memory of its own. */
export type FromWorker =
  | { type: 'ready'; info: BackendInfo; note: string; residentBytes: number | undefined }
  | { type: 'loadFailed'; message: string }
  | {
      type: 'result';
      /** The texts' outputs one after another. */
      buffer: ArrayBuffer;
      /** For each text, where its values end in `buffer`. */
      ends: number[];
      tensors: RawTensor[];
      computeUs: number;
      postUs: number;
      residentBytes: number | undefined;
    }
  | { type: 'batchFailed'; message: string };
