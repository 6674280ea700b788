import type { IncomingMessage } from 'node:http';
import { RagError } from '../errors.ts';
import { announcedBytes } from './request-body.ts';

/**
 * Reads a JSON body; stops reading at the limit instead of taking in the rest first.
 * @throws RagError TOO_LARGE, UNSUPPORTED_MEDIA_TYPE (compressed), INVALID_INPUT (not UTF-8, not JSON, cut short)
 */
export async function readJson(request: IncomingMessage, maxBytes: number): Promise<unknown> {
  const encoding = request.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity') {
    const message = `The body is compressed (content-encoding ${encoding}); send it as it is.`;
    throw new RagError('UNSUPPORTED_MEDIA_TYPE', message);
  }
  const announced = announcedBytes(request) ?? 0;
  if (announced > maxBytes) throw tooLarge(`${announced} bytes`, maxBytes);
  const text = decode(await readBytes(request, maxBytes));
  if (text.trim() === '') throw new RagError('INVALID_INPUT', 'The body is empty where JSON was expected.');
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new RagError('INVALID_INPUT', `The body is not valid JSON: ${(error as Error).message}`);
  }
}

function readBytes(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let length = 0;
  const onData = (chunk: Buffer) => {
    length += chunk.length;
    chunks.push(chunk);
    if (length > maxBytes) reject(tooLarge('more bytes than that', maxBytes));
  };
  request.on('data', onData);
  request.once('end', () => resolve(Buffer.concat(chunks)));
  request.once('error', () => reject(cutShort()));
  request.once('close', () => reject(cutShort()));
  return promise.finally(() => {
    request.off('data', onData);
    chunks.length = 0;
  });
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new RagError('INVALID_INPUT', 'The body is not valid UTF-8, which JSON must be.');
  }
}

function tooLarge(actual: string, maxBytes: number): RagError {
  const message = `A JSON body may have ${maxBytes} bytes here, and this one has ${actual}. Send less at once, or upload files instead; --max-json-bytes raises the limit for documents.`;
  return new RagError('TOO_LARGE', message, { details: { limit: maxBytes } });
}

function cutShort(): RagError {
  return new RagError('CANCELLED', 'The connection was cut before the whole body had arrived.');
}
