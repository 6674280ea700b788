import type { IncomingMessage } from 'node:http';
import { ServingError } from '../../errors.ts';

/**
 * The whole body of a request.
 * @throws ServingError INPUT_TOO_LONG as soon as it is known to be longer than `maxBytes`, CANCELLED when the client went
 * away
 */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
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
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, bytes);
}

function tooLong(actual: string, maxBytes: number): ServingError {
  return new ServingError('INPUT_TOO_LONG', `the body has ${actual}, the limit is ${maxBytes} bytes.`);
}
