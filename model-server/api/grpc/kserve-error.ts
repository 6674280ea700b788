import { status } from '@grpc/grpc-js';
import { ServingError } from '../../errors.ts';
import { type Status, toStatus } from './call.ts';

/** The protocol's clients know neither of these codes; what they stand for is UNAVAILABLE to them. */
const UNAVAILABLE: readonly number[] = [
  status.RESOURCE_EXHAUSTED,
  status.DEADLINE_EXCEEDED,
  status.FAILED_PRECONDITION,
];

/** Why loads and unloads by call are refused unless the control mode is explicit; clients look for this very text. */
export const NOT_EXPLICIT = 'explicit model load / unload is not allowed if polling is enabled';

/** Tells an error in the codes and texts that clients of the Open Inference Protocol look for. */
export function toKserveStatus(error: ServingError, request: object): Status {
  const told = toStatus(error);
  const code = UNAVAILABLE.includes(told.code) ? status.UNAVAILABLE : told.code;
  return { ...told, code, details: textOf(error, nameOf(request)) ?? told.details };
}

/** How an error while loading or unloading is told. */
export function toRepositoryStatus(what: 'load' | 'unload', error: ServingError, request: object): Status {
  const told = toStatus(error);
  const [model] = nameOf(request);
  if (error.message === NOT_EXPLICIT) return { ...told, code: status.UNAVAILABLE };
  if (error.reason === 'MODEL_NOT_FOUND')
    return {
      ...told,
      code: status.INTERNAL,
      details: `failed to ${what} '${model}', failed to poll from model repository`,
    };
  if (error.reason !== 'MODEL_LOAD_FAILED' && error.reason !== 'MODEL_CONFIG_INVALID')
    return toKserveStatus(error, request);
  return { ...told, code: status.INTERNAL, details: `failed to ${what} '${model}', ${told.details}` };
}

/**
 * A version as requests write it.
 * @returns 0 when none is named
 * @throws ServingError INVALID_INPUT
 */
export function versionOf(text: string): number {
  if (text === '') return 0;
  const version = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  // The contract's versions are 32 bits wide.
  if (version > 0 && version < 2 ** 32) return version;
  throw new ServingError(
    'INVALID_INPUT',
    `failed to get model version from specified version string '${text.slice(0, 50)}', version should be an integral value > 0`,
  );
}

function textOf({ reason, message }: ServingError, [model, version]: [string, string]): string | undefined {
  const which = `Request for unknown model: '${model}'${version === '' ? '' : ` version ${version}`}`;
  switch (reason) {
    case 'MODEL_NOT_FOUND':
      return `Request for unknown model: '${model}' is not found`;
    case 'VERSION_NOT_FOUND':
      return `${which} is not found`;
    case 'MODEL_NOT_READY':
    case 'MODEL_DRAINING':
    case 'MODEL_LOAD_FAILED':
    case 'MODEL_CONFIG_INVALID':
      return `${which} is not at ready state: ${message.slice(0, 500)}`;
    case 'QUEUE_FULL':
      return `Exceeds maximum queue size: ${message.slice(0, 500)}`;
    case 'DEADLINE_EXCEEDED':
      return 'Request timeout expired';
    default:
      return undefined;
  }
}

/** Name and version as the request writes them. */
function nameOf(request: object): [string, string] {
  const fields = request as Partial<Record<'modelName' | 'name' | 'modelVersion' | 'version', string>>;
  const model = fields.modelName ?? fields.name ?? '';
  const version = fields.modelVersion ?? fields.version ?? '';
  return [model.slice(0, 200), version.slice(0, 20)];
}
