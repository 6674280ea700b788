import { Parser } from 'htmlparser2';
import type { ReadDocument } from '../document.ts';
import { decodeText } from './decode.ts';

const SKIPPED = new Set(
  'script style noscript template svg nav iframe object button select textarea dialog'.split(' '),
);
const PARAGRAPHS = new Set(
  (
    'address article aside blockquote body dd details div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 ' +
    'header hr html main ol p pre section table tbody thead tfoot ul caption summary'
  ).split(' '),
);
const LINES = new Set(['br', 'li', 'tr', 'option']);

/** Collects text with block structure: white space collapses, blocks are set apart by a blank line. */
class TextFlow {
  #parts: string[] = [];
  #pendingBreak = '';
  #pendingSpace = false;
  #begun = false;

  break(kind: '\n' | '\n\n'): void {
    if (kind.length > this.#pendingBreak.length) this.#pendingBreak = kind;
    this.#pendingSpace = false;
  }

  space(): void {
    this.#pendingSpace = true;
  }

  /** Text of which nothing collapses, as in `pre`. */
  verbatim(text: string): void {
    if (text === '') return;
    this.#flush();
    this.#parts.push(text);
  }

  add(text: string): void {
    const words = text.replace(/[\s\u00a0]+/g, ' ');
    if (words.startsWith(' ')) this.#pendingSpace = true;
    const trimmed = words.trim();
    if (trimmed === '') return;
    this.#flush();
    this.#parts.push(trimmed);
    this.#pendingSpace = words.endsWith(' ');
  }

  toString(): string {
    return this.#parts.join('');
  }

  #flush(): void {
    if (this.#begun) this.#parts.push(this.#pendingBreak || (this.#pendingSpace ? ' ' : ''));
    this.#begun = true;
    this.#pendingBreak = '';
    this.#pendingSpace = false;
  }
}

function isHidden(attributes: Record<string, string>): boolean {
  return 'hidden' in attributes || attributes.role === 'navigation' || attributes['aria-hidden'] === 'true';
}

const VOID = new Set('area base br col embed hr img input link meta source track wbr'.split(' '));

/** Walks the markup once, without building a tree: the depth of skipped elements is all the state it needs. */
class HtmlText {
  readonly flow = new TextFlow();
  title = '';
  #firstHeading = '';
  #inTitle = false;
  #inHeading = false;
  #preDepth = 0;
  #skipDepth = 0;

  open(name: string, attributes: Record<string, string>): void {
    if (VOID.has(name)) {
      this.#breakAt(name);
      return;
    }
    if (this.#skipDepth > 0 || SKIPPED.has(name) || isHidden(attributes)) {
      this.#skipDepth++;
      return;
    }
    if (name === 'title') this.#inTitle = this.title === '';
    if (name === 'h1') this.#inHeading = this.#firstHeading === '';
    if (name === 'pre') this.#preDepth++;
    this.#breakAt(name);
  }

  close(name: string): void {
    if (VOID.has(name)) return;
    if (this.#skipDepth > 0) {
      this.#skipDepth--;
      return;
    }
    if (name === 'title') this.#inTitle = false;
    if (name === 'h1') this.#inHeading = false;
    if (name === 'pre') this.#preDepth = Math.max(0, this.#preDepth - 1);
    this.#breakAt(name);
  }

  text(text: string): void {
    if (this.#skipDepth > 0) return;
    if (this.#inTitle) {
      this.title += text;
      return;
    }
    if (this.#inHeading) this.#firstHeading += text;
    if (this.#preDepth > 0) this.flow.verbatim(text);
    else this.flow.add(text);
  }

  get bestTitle(): string {
    return (this.title.trim() || this.#firstHeading).replace(/\s+/g, ' ').trim();
  }

  #breakAt(name: string): void {
    if (PARAGRAPHS.has(name)) this.flow.break('\n\n');
    else if (LINES.has(name)) this.flow.break('\n');
    else if (name === 'td' || name === 'th') this.flow.space();
  }
}

/** HTML as its visible text: scripts, styles and navigation go, blocks become paragraphs, entities are decoded. */
export function readHtml(bytes: Uint8Array, name: string): ReadDocument {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, 4_096)).toString(
    'latin1',
  );
  const declared = /<meta[^>]+charset\s*=\s*["']?\s*([\w-]+)/i.exec(head)?.[1];
  const decoded = decodeText(bytes, name, declared);
  const content = new HtmlText();
  const parser = new Parser({
    onopentag: (tag, attributes) => content.open(tag, attributes),
    onclosetag: (tag) => content.close(tag),
    ontext: (text) => content.text(text),
  });
  parser.end(decoded.text);
  const text = content.flow.toString();
  return { text, title: content.bestTitle, mediaType: 'text/html', warnings: decoded.warnings };
}
