import type { Batch, BatchResult } from '../types.ts';
import type { FromWorker } from './protocol.ts';

/** The buffers of a batch; it owns them, so they are moved to a worker where that is possible. */
export function buffersOf(batch: Batch): ArrayBuffer[] {
  return batch.kind === 'tokens'
    ? [batch.tokens]
    : batch.inputs.map((input) => input.data.buffer as ArrayBuffer);
}

/** What a worker's message says of a batch; the outputs of texts are views of one buffer. */
export function resultOf(message: Extract<FromWorker, { type: 'result' }>): BatchResult {
  const { buffer, ends, tensors, computeUs, postUs } = message;
  const values = new Float32Array(buffer);
  const outputs = ends.map((end, row) => values.subarray(row === 0 ? 0 : ends[row - 1]!, end));
  return { outputs, tensors, computeUs, postUs };
}
