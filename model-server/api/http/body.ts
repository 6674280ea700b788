import type { IncomingMessage } from 'node:http';
import { ServingError } from '../../errors.ts';

/**
 * The whole body of a request.
 * @throws ServingError INPUT_TOO_LONG as soon as it is known to be longer than `maxBytes`, INVALID_INPUT when it is no
 * UTF-8, CANCELLED when the client went away
 */
export async function readText(request: IncomingMessage, maxBytes: number): Promise<string> {
  const announced = Number(request.headers['content-length'] ?? 0);
  if (announced > maxBytes) throw tooLong(`${announced} bytes`, maxBytes);
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    // Leaving the loop must not end the connection: the answer still has to go out.
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += chunk.byteLength;
      if (bytes > maxBytes) throw tooLong('more', maxBytes);
      chunks.push(chunk);
    }
  } catch (cause) {
    if (cause instanceof ServingError) throw cause;
    throw new ServingError('CANCELLED', 'the client went away before it had sent its whole request.', {
      cause,
    });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks, bytes));
  } catch (cause) {
    throw new ServingError('INVALID_INPUT', 'the body is no valid UTF-8.', { cause });
  }
}

function tooLong(actual: string, maxBytes: number): ServingError {
  return new ServingError('INPUT_TOO_LONG', `the body has ${actual}, the limit is ${maxBytes} bytes.`);
}
