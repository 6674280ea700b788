import type { InferParameter, ModelInferRequest } from '../../../proto/gen/inference_pb.js';
import { ServingError } from '../../errors.ts';

/** What this server would have to do for them, it does not do: they are refused, never ignored. */
const OF_REQUEST = ['sequence_id', 'sequence_start', 'sequence_end', 'priority'];
const OF_TENSOR = [
  'shared_memory_region',
  'shared_memory_offset',
  'shared_memory_byte_size',
  'classification',
];

/** @throws ServingError TASK_NOT_SUPPORTED naming the first parameter that can't be honoured */
export function refuseUnhonoured({ parameters, inputs, outputs }: ModelInferRequest): void {
  for (const key of Object.keys(parameters)) {
    if (OF_REQUEST.includes(key) || key.startsWith('triton_')) throw unhonoured(`'${key.slice(0, 100)}'`);
  }
  for (const tensor of [...inputs, ...outputs]) {
    const key = Object.keys(tensor.parameters).find((known) => OF_TENSOR.includes(known));
    if (key !== undefined) throw unhonoured(`'${key}' of tensor '${tensor.name.slice(0, 100)}'`);
  }
}

/**
 * How long the request says that it may wait for its turn (parameter `timeout`, microseconds), in milliseconds; undefined
 * when it does not say. The model's configuration decides whether that counts.
 * @throws ServingError INVALID_INPUT
 */
export function inferTimeoutMs({ parameters: { timeout } }: ModelInferRequest): number | undefined {
  const timeoutUs = timeout === undefined ? 0 : wholeOf(timeout);
  return timeoutUs === 0 ? undefined : timeoutUs / 1000;
}

/** Clients write it as any of these. */
function wholeOf({ parameterChoice: { case: kind, value } }: InferParameter): number {
  const isWhole =
    kind === 'int64Param' || kind === 'uint64Param' || (kind === 'stringParam' && /^\d{1,18}$/.test(value));
  const timeoutUs = isWhole ? Number(value) : -1;
  if (timeoutUs >= 0) return timeoutUs;
  throw new ServingError('INVALID_INPUT', "parameter 'timeout' must be a whole number of microseconds.");
}

function unhonoured(what: string): ServingError {
  return new ServingError('TASK_NOT_SUPPORTED', `parameter ${what} is not supported by this server.`);
}
