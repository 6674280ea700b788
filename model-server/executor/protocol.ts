import type { BackendInfo, Batch, Pooling } from '../types.ts';

/** What a worker needs to open its session; passed as workerData. */
export interface WorkerOptions {
  modelFile: string;
  intraOpThreads: number;
  pooling: Pooling;
  normalize: boolean;
}

export type ToWorker = { type: 'run'; batch: Batch } | { type: 'close' };

export type FromWorker =
  | { type: 'ready'; info: BackendInfo }
  | { type: 'loadFailed'; message: string }
  | { type: 'result'; buffer: ArrayBuffer; ends: number[]; computeUs: number; postUs: number }
  | { type: 'batchFailed'; message: string };
