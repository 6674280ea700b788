import { styleText } from 'node:util';
import type { WireDegradation } from './answer-wire.ts';

/** `Handbook, p. 3-4` */
export function placeOf(passage: {
  title: string;
  document_id: string;
  page?: number;
  page_end?: number;
}): string {
  const { title, document_id, page, page_end } = passage;
  const name = title || document_id;
  if (page === undefined) return name;
  return page_end === undefined || page_end === page
    ? `${name}, p. ${page}`
    : `${name}, p. ${page}-${page_end}`;
}

/** One line of at most `width` characters. */
export function short(text: string, width: number): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length <= width ? line : `${line.slice(0, width - 3).trimEnd()}...`;
}

/** What failed while the rest went on, one line each. */
export function degradedLines(degraded: readonly WireDegradation[]): string {
  return degraded
    .map(
      ({ source, reason, message }) =>
        `${styleText('yellow', `without ${source}`)} (${reason}): ${message}\n`,
    )
    .join('');
}
