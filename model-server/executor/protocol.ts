import type { BackendInfo, Batch, Pooling, RawTensor, SessionSettings } from '../types.ts';

/** What a worker needs to open its session. */
export interface WorkerOptions extends SessionSettings {
  pooling: Pooling;
  normalize: boolean;
}

export type ToWorker =
  /** `provenFiles` are marks of files whose rewritten graphs need not be compared with the file again. */
  | { type: 'open'; options: WorkerOptions; provenFiles: readonly string[] }
  | { type: 'run'; batch: Batch }
  | { type: 'close' };

/** `residentBytes` is what the process of the worker takes; undefined for a thread, which has no memory of its own. */
export type FromWorker =
  | {
      type: 'ready';
      info: BackendInfo;
      note: string;
      residentBytes: number | undefined;
      /** The mark of a file whose rewritten graph holds; absent when it runs as it is. */
      provenFile?: string | undefined;
    }
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
