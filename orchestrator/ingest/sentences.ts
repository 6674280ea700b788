/** How well the place after a sentence suits as a border of chunks; higher is better. */
export const border = { afterHeading: -1, sentence: 0, line: 1, paragraph: 2, beforeHeading: 3 } as const;
export type Border = (typeof border)[keyof typeof border];

/** A sentence, list item or heading, without the blanks around it. */
export interface Sentence {
  start: number;
  end: number;
  /** What comes after it. */
  border: Border;
}

/** Lines that no sentence crosses the edges of: a paragraph, a list item, a table row, a heading. */
interface Passage {
  start: number;
  end: number;
  heading: boolean;
  border: Border;
}

/** Characters that are segmented at a time: more than any sentence has, and a few milliseconds of work. */
const WINDOW = 32_768;
const MAX_HEADING_LENGTH = 120;

const segmenter = new Intl.Segmenter('en', { granularity: 'sentence' });

/**
 * The segmenter takes an abbreviation's full stop before a capital for the end of a sentence. `etc.` and `al.` are
 * not here, since they do end sentences. A single capital is an initial.
 */
const ABBREVIATION =
  /(?:^|[\s([{"'\u201c\u2018])(?:e\.g|i\.e|[Cc]f|vs|viz|approx|resp|[Dd]r|M(?:rs?|s)|Prof|St|Rev|Gen|Sen|Gov|Lt|z\. ?B|d\. ?h|bzw|vgl|ca|\p{Lu})\.\s*$/u;
/** These end no sentence when a number or a numeral follows. */
const NUMBERED =
  /(?:^|[\s([{"'\u201c\u2018])(?:[Ff]igs?|[Ee]qs?|[Ss]ecs?|[Rr]efs?|[Tt]abs?|[Cc]h(?:ap)?|[Nn]os?|[Nn]r|[Vv]ols?|pp?|[Aa]rts?|Abb|Bd)\.\s*$/;

/** A question that is quoted inside a sentence which goes on in small letters. */
const QUOTED_END = /[?!\u2026]["'\u2019\u201d)\]]\s*$/;

const LIST_ITEM = /^[ \t]*(?:[-*+\u2022\u25aa\u25cf\u2023]\s|\(?(?:\d{1,3}|[a-zA-Z])[.)]\s|[|>]|```|~~~)/;
const MARKED_HEADING = /^[ \t]*#{1,6}\s/;
const ENDS_WITHOUT_STOP = /[\p{L}\p{N})\]"'\u2019\u201d*_]$/u;

function lineHead(text: string, start: number, end: number): string {
  return text.slice(start, Math.min(end, start + 24));
}

/** A short line that stands alone and has no full stop: what extracted text shows of a heading. */
function looksLikeHeading(text: string, start: number, end: number): boolean {
  if (end - start > MAX_HEADING_LENGTH) return false;
  const line = text.slice(start, end).trim();
  return (
    !line.includes('\n') &&
    ENDS_WITHOUT_STOP.test(line) &&
    /\p{L}{2}/u.test(line) &&
    !/^\p{Ll}/u.test(line) &&
    !LIST_ITEM.test(line)
  );
}

function* passages(text: string): Generator<Passage> {
  let start = -1;
  let marked = false;
  let afterBlank = true;
  const close = (end: number, after: Border): Passage => {
    const alone = afterBlank && after === border.paragraph;
    const heading = marked || (alone && looksLikeHeading(text, start, end));
    return { start, end, heading, border: heading ? border.afterHeading : after };
  };
  for (let line = 0; line < text.length; ) {
    const feed = text.indexOf('\n', line);
    const next = feed < 0 ? text.length : feed + 1;
    const blank = text.slice(line, next).trim() === '';
    const head = lineHead(text, line, next);
    if (start >= 0 && (blank || marked || MARKED_HEADING.test(head) || LIST_ITEM.test(head))) {
      yield close(line, blank ? border.paragraph : border.line);
      start = -1;
      afterBlank = false;
    }
    if (blank) afterBlank = true;
    else if (start < 0) {
      start = line;
      marked = MARKED_HEADING.test(head);
    }
    line = next;
  }
  if (start >= 0) yield close(text.length, border.paragraph);
}

function isFalseEnd(before: string, after: string): boolean {
  if (ABBREVIATION.test(before)) return true;
  return /^[\dA-Z]/.test(after) ? NUMBERED.test(before) : /^\p{Ll}/u.test(after) && QUOTED_END.test(before);
}

/** Ends of the sentences in a window of text, merged where an abbreviation's full stop was taken for an end. */
function sentenceEnds(window: string): number[] {
  // A line feed ends a sentence for the segmenter; here it is only where a line was full.
  const flat = window.replace(/[\n\u0085\u2028\u2029]/g, ' ');
  const ends: number[] = [];
  for (const { index, segment } of segmenter.segment(flat)) {
    const before = flat.slice(Math.max(0, index - 16), index);
    if (isFalseEnd(before, segment)) ends.pop();
    ends.push(index + segment.length);
  }
  return ends;
}

function* spans(text: string, passage: Passage): Generator<{ start: number; end: number }> {
  let start = passage.start;
  while (start < passage.end) {
    const end = Math.min(passage.end, start + WINDOW);
    const ends = sentenceEnds(text.slice(start, end));
    // The window may cut its last sentence, which is then segmented again at the start of the next window.
    if (end < passage.end && ends.length > 1) ends.pop();
    let from = start;
    for (const offset of ends) {
      const piece = text.slice(from, start + offset);
      const lead = piece.length - piece.trimStart().length;
      if (lead < piece.length) yield { start: from + lead, end: from + piece.trimEnd().length };
      from = start + offset;
    }
    start = from;
  }
}

/** The sentences of a text in order, each with the border that follows it. Every character but blanks is in one. */
export function* sentences(text: string): Generator<Sentence> {
  let pending: Sentence | undefined;
  for (const passage of passages(text)) {
    if (passage.heading && pending !== undefined && pending.border !== border.afterHeading) {
      pending.border = border.beforeHeading;
    }
    for (const span of spans(text, passage)) {
      if (pending !== undefined) yield pending;
      pending = { ...span, border: passage.heading ? border.afterHeading : border.sentence };
    }
    if (pending !== undefined) pending.border = passage.border;
  }
  if (pending !== undefined) yield pending;
}
