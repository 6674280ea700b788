import { parse } from 'yaml';
import type { ReadDocument } from '../document.ts';
import { decodeText } from './decode.ts';

const FRONT_MATTER = /^---[ \t]*\n([\s\S]{0,20000}?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)/;

function frontMatterTitle(source: string): string {
  try {
    const fields: unknown = parse(source, { maxAliasCount: 0 });
    if (fields !== null && typeof fields === 'object' && 'title' in fields) {
      return typeof fields.title === 'string' ? fields.title.trim() : '';
    }
  } catch {
    // Front matter that is no YAML gives no title, and the text is still worth reading.
  }
  return '';
}

/** The first heading outside fenced code: `# Title`, or a line underlined by ===. */
function firstHeading(text: string): string {
  let fenced = false;
  let previous = '';
  for (const [line] of text.slice(0, 20_000).matchAll(/^.*$/gm)) {
    if (/^\s*(?:```|~~~)/.test(line)) fenced = !fenced;
    if (fenced) continue;
    const heading = /^ {0,3}#{1,6}\s+(.+?)\s*#*\s*$/.exec(line)?.[1];
    if (heading !== undefined) return heading.replace(/[*_`]/g, '');
    if (/^={3,}\s*$/.test(line) && previous.trim() !== '') return previous.trim();
    previous = line;
  }
  return '';
}

/** Markdown is kept as it is written, less its front matter; the title is the front matter's or the first heading. */
export function readMarkdown(bytes: Uint8Array, name: string): ReadDocument {
  const { text, warnings } = decodeText(bytes, name);
  const frontMatter = FRONT_MATTER.exec(text);
  const body = frontMatter === null ? text : text.slice(frontMatter[0].length);
  const title = frontMatterTitle(frontMatter?.[1] ?? '') || firstHeading(body);
  return { text: body, title, mediaType: 'text/markdown', warnings };
}
