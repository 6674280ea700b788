import {
  type DescMessage,
  type DescMethod,
  fromJsonString,
  type MessageShape,
  toJson,
} from '@bufbuild/protobuf';
import { ServingError } from '../../errors.ts';
import type { Answer, PostRequest } from './server.ts';

/** How the Connect protocol calls the gRPC codes that the error table uses. */
const CODES: Readonly<Record<number, string>> = {
  1: 'canceled',
  3: 'invalid_argument',
  4: 'deadline_exceeded',
  5: 'not_found',
  7: 'permission_denied',
  8: 'resource_exhausted',
  9: 'failed_precondition',
  12: 'unimplemented',
  13: 'internal',
  14: 'unavailable',
  16: 'unauthenticated',
};

/** The path of a unary method, as in the Connect protocol. */
export function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/**
 * The request message from a JSON body. Unknown fields are refused: a misspelt one must not be ignored.
 * @throws ServingError INVALID_INPUT, INPUT_TOO_LONG
 */
export async function readMessage(
  { input }: DescMethod,
  request: PostRequest,
  maxBytes: number,
): Promise<MessageShape<DescMessage>> {
  const text = await request.readText(maxBytes);
  try {
    return fromJsonString(input, text);
  } catch (cause) {
    const why = (cause as Error).message.slice(0, 300);
    throw new ServingError('INVALID_INPUT', `the body is no valid ${input.typeName}: ${why}.`, { cause });
  }
}

/** Why a request can't be answered at all, whatever its body says. */
export function unsupported({ headers }: PostRequest): Answer | undefined {
  const type = headers['content-type'] ?? '';
  const encoding = headers['content-encoding'] ?? 'identity';
  if (!/^application\/json *(; *charset *= *"?utf-8"? *)?$/i.test(type))
    return refusal(`the body must be application/json, not ${JSON.stringify(type)}`, 'accept-post');
  if (encoding !== 'identity')
    return refusal(`the body must not be compressed (${encoding})`, 'accept-encoding');
  return undefined;
}

/** The answer that carries a message. Fields that hold their default are written too, for those who read it. */
export function messageAnswer({ output }: DescMethod, message: MessageShape<DescMessage>): Answer {
  return { status: 200, body: toJson(output, message, { alwaysEmitImplicit: true }) as object };
}

/** The answer that tells an error: the protocol's code and message, and our reason. */
export function errorAnswer({ reason, message, row, retryAfterMs }: ServingError): Answer {
  const after = retryAfterMs === undefined ? {} : { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) };
  const challenge: Record<string, string> =
    reason === 'UNAUTHENTICATED' ? { 'www-authenticate': 'Bearer realm="nereid admin"' } : {};
  return {
    status: row.http,
    body: { code: CODES[row.grpc] ?? 'unknown', message, reason },
    headers: { ...after, ...challenge },
  };
}

function refusal(message: string, header: 'accept-post' | 'accept-encoding'): Answer {
  const accepted = header === 'accept-post' ? 'application/json' : 'identity';
  return { status: 415, body: { code: 'invalid_argument', message }, headers: { [header]: accepted } };
}
