import type { InferParameter, ModelInferRequest } from '../../../proto/gen/inference_pb.js';
import { ServingError } from '../../errors.ts';
import type { Priority } from '../../models/run-task.ts';

/** What this server would have to do for them, it does not do: they are refused, never ignored. */
const OF_REQUEST = ['sequence_id', 'sequence_start', 'sequence_end'];
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
  const timeoutUs = timeout === undefined ? 0 : wholeOf(timeout, 'timeout');
  return timeoutUs === 0 ? undefined : timeoutUs / 1000;
}

/**
 * How urgent the request says that it is (parameter `priority`): 1 is the most urgent, as in Triton. Undefined when it does
 * not say, or says 0.
 * @throws ServingError INVALID_INPUT
 */
export function inferPriority({ parameters: { priority } }: ModelInferRequest): Priority | undefined {
  const level = priority === undefined ? 0 : wholeOf(priority, 'priority');
  if (level === 0) return undefined;
  return level === 1 ? 'interactive' : level === 2 ? 'default' : 'bulk';
}

const WHAT = {
  timeout: 'a whole number of microseconds',
  priority: 'a whole number: 0 for the default, 1 for the most urgent',
};

/** Clients write it as any of these. */
function wholeOf(
  { parameterChoice: { case: kind, value } }: InferParameter,
  name: keyof typeof WHAT,
): number {
  const isWhole =
    kind === 'int64Param' || kind === 'uint64Param' || (kind === 'stringParam' && /^\d{1,18}$/.test(value));
  const whole = isWhole ? Number(value) : -1;
  if (whole >= 0) return whole;
  throw new ServingError('INVALID_INPUT', `parameter '${name}' must be ${WHAT[name]}.`);
}

function unhonoured(what: string): ServingError {
  return new ServingError('TASK_NOT_SUPPORTED', `parameter ${what} is not supported by this server.`);
}
