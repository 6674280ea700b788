import { createHash } from 'node:crypto';

/** What is embedded of a chunk: its document's title and its text. A passage found by its title alone needs both. */
export function embeddedText(title: string, text: string): string {
  return title === '' ? text : `${title}\n${text}`;
}

/** SHA-256 (hex) of what is embedded: equal ones have equal vectors. */
export function contentHash(title: string, text: string): string {
  return createHash('sha256').update(embeddedText(title, text)).digest('hex');
}
