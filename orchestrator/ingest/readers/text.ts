import type { ReadDocument } from '../document.ts';
import { decodeText } from './decode.ts';

/** Plain text: the text is the document. */
export function readText(bytes: Uint8Array, name: string): ReadDocument {
  return { ...decodeText(bytes, name), title: '', mediaType: 'text/plain' };
}
