import type { PdfLine } from './pdf-lines.ts';

const ENDS_SENTENCE = /[.!?:;\u2026\u061f\u3002]["'\u2019\u201d)\]]*$/;
const LIST_ITEM = /^(?:[\u2022\u2023\u25aa\u25cf\u25e6*\u2013-]\s|\(?(?:\d{1,3}|[a-z])[.)]\s)/i;
/** Bound on the words remembered per document. */
const MAX_HYPHENATED_WORDS = 50_000;
const BROKEN_WORD = /\p{L}\p{L}[-\u00ad\u2010]$/u;

function median(values: number[], otherwise: number): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? otherwise;
}

/** Usual distance of base lines on a page, in points. */
function lineSpacing(lines: readonly PdfLine[]): number {
  const steps: number[] = [];
  for (let i = 1; i < lines.length; i++) {
    const step = lines[i - 1]!.y - lines[i]!.y;
    if (step > 1 && step < lines[i]!.size * 3) steps.push(step);
  }
  return median(steps, 0);
}

/** Median font size of a page's letters, in points: what its body text is set in. */
export function bodySize(lines: readonly PdfLine[]): number {
  return median(
    lines.flatMap((line) => Array.from({ length: Math.ceil(line.text.length / 20) }, () => line.size)),
    0,
  );
}

/** Whether text goes on over a column or page border: the sentence is open and the next line begins small. */
function flowsOn(before: string, after: string): boolean {
  return !ENDS_SENTENCE.test(before) && /^[\p{Ll}\d(]/u.test(after);
}

function beginsParagraph(before: PdfLine, line: PdfLine, spacing: number): boolean {
  const step = before.y - line.y;
  if (Math.abs(before.size - line.size) > Math.max(before.size, line.size) * 0.15) return true;
  if (step < -line.size || Math.abs(step) > line.size * 6) return !flowsOn(before.text, line.text);
  if (step > Math.max(spacing * 1.35, line.size * 1.2)) return true;
  const indent = line.left - before.left;
  return ENDS_SENTENCE.test(before.text) && indent > line.size * 0.8 && indent < line.size * 5;
}

/** Words that a text writes with a hyphen inside a line, such as `chain-of-thought`. */
export function hyphenatedWords(lines: Iterable<PdfLine>): Set<string> {
  const words = new Set<string>();
  for (const line of lines) {
    for (const [word] of line.text.matchAll(/\p{L}+(?:-\p{L}+)+/gu)) {
      if (words.size < MAX_HYPHENATED_WORDS) words.add(word.toLowerCase());
    }
  }
  return words;
}

/** Puts a word that the line's end broke together again; its hyphen stays where the text writes one elsewhere. */
function joinLines(text: string, next: string, hyphenated: ReadonlySet<string>): string {
  if (!BROKEN_WORD.test(text) || !/^\p{Ll}/u.test(next)) return `${text}\n${next}`;
  const head = /[\p{L}-]+-$/u.exec(text.slice(-60))?.[0] ?? '';
  const tail = /^[\p{L}-]*\p{L}/u.exec(next.slice(0, 60))?.[0] ?? '';
  return (hyphenated.has((head + tail).toLowerCase()) ? text : text.slice(0, -1)) + next;
}

/** One page's text: lines end with a line feed, paragraphs with two, words broken at a line's end are whole again. */
export function pageText(lines: readonly PdfLine[], hyphenated: ReadonlySet<string>): string {
  const spacing = lineSpacing(lines);
  const paragraphs: string[] = [];
  let paragraph = '';
  let before: PdfLine | undefined;
  for (const line of lines) {
    if (before === undefined) {
      paragraph = line.text;
    } else if (beginsParagraph(before, line, spacing)) {
      paragraphs.push(paragraph);
      paragraph = line.text;
    } else {
      paragraph = LIST_ITEM.test(line.text)
        ? `${paragraph}\n${line.text}`
        : joinLines(paragraph, line.text, hyphenated);
    }
    before = line;
  }
  if (before !== undefined) paragraphs.push(paragraph);
  return paragraphs.join('\n\n');
}

/** What stands between two pages: a line feed when a sentence runs over the border, else a paragraph's end. */
export function pageBorder(before: string, after: string): '\n' | '\n\n' {
  return flowsOn(before, after) ? '\n' : '\n\n';
}
