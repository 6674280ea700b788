/** One sentence of a text: text.slice(start, end), without blanks around it. */
export interface Sentence {
  start: number;
  end: number;
  text: string;
}

const segmenter = new Intl.Segmenter('en', { granularity: 'sentence' });

/** A line at least this long that is followed by another was probably wrapped, not ended. */
const wrappedLineLength = 40;
/** A "sentence" above this is cut at inner stops: texts without capitals have no others. */
const longSentence = 400;

/** The sentences of a text, in order. Hard-wrapped lines (as PDFs have them) are read as one. */
export function sentencesOf(text: string): Sentence[] {
  const sentences: Sentence[] = [];
  for (const { segment, index } of segmenter.segment(unwrapped(text))) {
    for (const part of segment.length > longSentence
      ? cutAtStops(segment)
      : [{ at: 0, length: segment.length }]) {
      const raw = text.slice(index + part.at, index + part.at + part.length);
      const trimmed = raw.trim();
      if (trimmed === '') continue;
      const start = index + part.at + (raw.length - raw.trimStart().length);
      sentences.push({ start, end: start + trimmed.length, text: trimmed });
    }
  }
  return sentences;
}

/** The same text, of the same length, where line ends inside a sentence are blanks (a line end always ends one). */
function unwrapped(text: string): string {
  let lineStart = 0;
  return text.replaceAll(/\r?\n/g, (lineEnd, offset: number) => {
    const lineLength = offset - lineStart;
    lineStart = offset + lineEnd.length;
    const next = text.slice(lineStart, lineStart + 3);
    if (/^\s*$/.test(next.slice(0, 1)) || /^([-*+#>|•]|\d+[.)])/.test(next)) return lineEnd;
    const wrapped = lineLength >= wrappedLineLength || /^\p{Ll}/u.test(next);
    return wrapped ? ' '.repeat(lineEnd.length) : lineEnd;
  });
}

function cutAtStops(segment: string): { at: number; length: number }[] {
  return [...segment.matchAll(/\S.*?(?:[.;!?]\s|$)/gs)].map((match) => ({
    at: match.index,
    length: match[0].length,
  }));
}

/** Words that say what a text is about: lower case, without common English function words. */
export function contentWords(text: string): Set<string> {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  return new Set(words.filter((word) => !functionWords.has(word)).map(stem));
}

/** Joins the commonest English endings, so that "heating" meets "heated"; other languages are hardly touched. */
function stem(word: string): string {
  if (word.length < 5 || !/^[a-z]+$/.test(word)) return word;
  return word.replace(/(?<=.{4})(?:ations?|ings?|edly|ed|ies|es|s|ly)$/, '');
}

/** How much of `wanted` is in `words`, from 0 to 1. */
export function coverage(wanted: ReadonlySet<string>, words: ReadonlySet<string>): number {
  if (wanted.size === 0) return 0;
  let shared = 0;
  for (const word of wanted) if (words.has(word)) shared += 1;
  return shared / wanted.size;
}

const functionWords = new Set(
  (
    'a about an and any are as at be been but by can could did do does for from had has have how i if in into is it ' +
    'its me my no not of on or our s should so some such than that the their them then there these they this those ' +
    'to up was we were what when where which who whom whose why will with would you your'
  ).split(' '),
);
