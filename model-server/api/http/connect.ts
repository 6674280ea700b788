import { isUtf8 } from 'node:buffer';
import {
  type DescMessage,
  type DescMethod,
  fromBinary,
  fromJsonString,
  type MessageShape,
  toBinary,
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

const TYPES = { json: 'application/json', proto: 'application/proto' } as const;

/** The path of a unary method, as in the Connect protocol. */
export function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/** How the messages of a call are written. */
export type Codec = 'json' | 'proto';

/**
 * How a request is written, or why it can't be answered at all, whatever its body says. Its answer is written alike.
 */
export function codecOf({ headers }: Pick<PostRequest, 'headers'>): Codec | Answer {
  const type = headers['content-type'] ?? '';
  const encoding = headers['content-encoding'] ?? 'identity';
  const protocol = headers['connect-protocol-version'] ?? '1';
  if (encoding !== 'identity')
    return refusal(415, `the body must not be compressed (${encoding})`, { 'accept-encoding': 'identity' });
  if (protocol !== '1')
    return refusal(400, `connect-protocol-version must be 1, not ${JSON.stringify(protocol)}`);
  if (/^application\/json *(; *charset *= *"?utf-8"? *)?$/i.test(type)) return 'json';
  if (/^application\/proto$/i.test(type)) return 'proto';
  const why = `the body must be ${TYPES.json} or ${TYPES.proto}, not ${JSON.stringify(type)}`;
  return refusal(415, why, { 'accept-post': `${TYPES.json}, ${TYPES.proto}` });
}

/**
 * The request message from a body. Unknown fields of JSON are refused: a misspelt one must not be ignored.
 * @throws ServingError INVALID_INPUT
 */
export function decodeMessage(
  { input }: Pick<DescMethod, 'input'>,
  codec: Codec,
  body: Buffer,
): MessageShape<DescMessage> {
  if (codec === 'json' && !isUtf8(body))
    throw new ServingError('INVALID_INPUT', 'the body is no valid UTF-8.');
  try {
    return codec === 'proto' ? fromBinary(input, body) : fromJsonString(input, body.toString('utf8'));
  } catch (cause) {
    const why = (cause as Error).message.slice(0, 300);
    throw new ServingError('INVALID_INPUT', `the body is no valid ${input.typeName}: ${why}.`, { cause });
  }
}

/** The answer that carries a message. Fields of JSON that hold their default are written too, for those who read it. */
export function messageAnswer(
  { output }: Pick<DescMethod, 'output'>,
  codec: Codec,
  message: MessageShape<DescMessage>,
): Answer {
  const body =
    codec === 'proto'
      ? toBinary(output, message)
      : (toJson(output, message, { alwaysEmitImplicit: true }) as object);
  return { status: 200, body, type: TYPES[codec] };
}

/** The answer that tells an error, in JSON whatever the request was written in: the protocol's code and message, our reason. */
export function errorAnswer({ reason, message, row, retryAfterMs }: ServingError): Answer {
  const headers: Record<string, string> = { 'nereid-reason': reason };
  if (retryAfterMs !== undefined) {
    headers['retry-after'] = String(Math.ceil(retryAfterMs / 1000));
    headers['nereid-retry-after-ms'] = String(Math.ceil(retryAfterMs));
  }
  if (reason === 'UNAUTHENTICATED') headers['www-authenticate'] = 'Bearer realm="nereid admin"';
  return { status: row.http, body: { code: CODES[row.grpc] ?? 'unknown', message, reason }, headers };
}

function refusal(status: number, message: string, headers: Record<string, string> = {}): Answer {
  return { status, body: { code: 'invalid_argument', message }, headers };
}
