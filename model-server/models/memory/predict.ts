import type { DataType } from '../../types.ts';

const MIB = 1024 * 1024;

/**
 * What an instance takes besides its weights and its arena: the thread's isolate, its modules, the session's graph and what
 * rewriting it has left. Measured: two instances of the shipped model (22.4 MiB) came to 67 - 70 MiB, 33 - 35 MiB each, and
 * to 80 - 83 MiB when they were the first of the process; two of the same model in fp32 (86.1 MiB) to 194 - 203 MiB, 97 -
 * 101 MiB each. Of that 3 - 4 MiB each are the rewriting's.
 */
const THREAD_BYTES = 13 * MIB;

/**
 * What the first session of a process takes once and never gives back: the runtime's library and its tables.
 * Measured: resident memory went from 44.7 MiB to 91.6 - 92.9 MiB by loading and unloading any model.
 */
export const RUNTIME_BYTES = 48 * MIB;

/**
 * A worker's process without a model; the runtime comes on top of it. Measured: the shipped model on two processes came
 * to 275.5 MiB, the same in fp32 to 402.6 MiB; with this figure 274.8 and 402.2 are predicted.
 */
const PROCESS_BYTES = 57 * MIB;

/** What is known of a version before it is loaded. */
export interface Prediction {
  /** Bytes of all weights; 0 when unknown, then the file's bytes count. */
  weightBytes: number;
  /** The same by element type, as far as known. */
  weightBytesByType: Readonly<Partial<Record<DataType, number>>>;
  /** Bytes of the model's file and of the external data that belong to it. */
  fileBytes: number;
  instances: number;
  /** Bytes of one instance's working memory at its largest batch, see `arenaBytes`. */
  arena: number;
  isolation: 'thread' | 'process';
  /** On `cpu` half precision is computed as FP32; another device keeps its weights as they are. Default `cpu`. */
  device?: string | undefined;
}

/**
 * Bytes that a version will take on its device. Every instance has a session of its own, because threads can't share
 * one, and so a copy of the weights.
 *
 * The figures were measured as resident memory of a process of its own, on Linux x64 (glibc, with the MALLOC_ variables
 * that the launcher sets), onnxruntime-node 1.30.0: int8 weights grew by 1.15 times the file, FP32 weights by 1.04
 * times, and a model of one FP16 matrix of 32 MiB by 69 MiB, as much as the same matrix in FP32: the CPU kernels are
 * FP32's, so the weights are widened when the session is made.
 */
export function predictBytes(prediction: Prediction): number {
  const { instances, arena, isolation, device = 'cpu' } = prediction;
  const onCpu = device === 'cpu';
  const perInstance = loadedBytes(prediction, onCpu) + arena + (onCpu ? THREAD_BYTES : 0);
  const perProcess = onCpu && isolation === 'process' ? PROCESS_BYTES + RUNTIME_BYTES : 0;
  return Math.ceil(instances * (perInstance + perProcess));
}

/** The weights in memory, and the rest of the file as it is. */
function loadedBytes({ weightBytes, weightBytesByType, fileBytes }: Prediction, onCpu: boolean): number {
  const { FP16 = 0, BF16 = 0 } = weightBytesByType;
  const widened = onCpu ? FP16 + BF16 : 0;
  return Math.max(weightBytes, fileBytes) + widened;
}

/** The largest batch that a text model may be given. */
export interface LargestBatch {
  /** Padded tokens of a batch at most. */
  maxBatchTokens: number;
  /** Tokens of one text at most; such a text may always run alone. */
  maxTokens: number;
  /** Width of the token states. */
  width: number;
  /** Attention heads; without it the smaller of the usual head sizes is taken, 32. */
  heads?: number | undefined;
}

/**
 * Bytes that a session's arena grows to when it runs the largest batch: states and feed-forward layers grow with the
 * tokens, attention with tokens x length. Both factors were fitted to all-MiniLM-L6-v2 (width 384, 12 heads; int8 and
 * FP32 alike), fresh sessions, MiB measured and (predicted): 32 x 16 tokens 17 - 24 (18), 4 x 128 25 (27), 1 x 512
 * 59 - 60 (57), 32 x 128 178 - 216 (214), 8 x 512 453 - 459 (459).
 */
export function arenaBytes({ maxBatchTokens, maxTokens, width, heads = width / 32 }: LargestBatch): number {
  const tokens = Math.max(maxBatchTokens, maxTokens);
  return Math.ceil(4 * tokens * (22 * width + 3.4 * maxTokens * heads));
}
