import type { AnswerSource, Citation } from './event.ts';
import type { Sentence } from './sentence.ts';
import { contentWords, coverage, sentencesOf } from './sentence.ts';

/** What one piece of an answer became: text to show, and the citations that it completed. */
export interface CitedPiece {
  text: string;
  citations: Citation[];
}

/** [1], [1, 2], [1; 2], [1-3], [source 1], with the blanks before it. */
const marker = /^(\s*)\[\s*(?:sources?\s+)?(\d{1,4}(?:\s*[,;–-]\s*\d{1,4})*)\s*\]/i;
/** What may still become a marker when more text comes. */
const unfinishedMarker =
  /^\s*\[(?![^\]]*\d{5})\s*(?:s(?:o(?:u(?:r(?:c(?:e(?:s|\s[\s\d,;–-]*)?)?)?)?)?)?)?[\s\d,;–-]*$/i;
/** Nobody writes longer markers; what is longer is text. */
const longestMarker = 80;
/** A bracket right behind one of these may be an index, as in `items[0]`. */
const gluing = /[\p{L}\p{N}_)\]]$/u;
/** The least number that is a year or a value rather than a source, unless it was sent. */
const leastValue = 100;
/** How much of the answer before a marker is searched for the statement that it supports. */
const statementWindow = 800;

/**
 * Reads an answer piece by piece, finds the `[n]` in it wherever the pieces are cut, and checks them against the
 * sources that were really sent. A number that was not sent is taken out of the text and kept in `removed`; the
 * others are written as `[1][2]`. What looks like an index of code (`items[0]`) or a year (`[2019-2021]`) is text.
 */
export class CitationReader {
  readonly #sources: ReadonlyMap<number, AnswerSource>;
  readonly #sentences = new Map<number, Sentence[]>();
  readonly #seen = new Set<string>();
  readonly citations: Citation[] = [];
  readonly removed = new Set<number>();
  #held = '';
  /** The answer so far without markers, to find the statement in front of one. */
  #prose = '';
  #afterMarker = false;
  text = '';

  constructor(sources: readonly AnswerSource[]) {
    this.#sources = new Map(sources.map((source) => [source.number, source]));
  }

  /** Takes the next piece; what may be the start of a marker is held back until it is clear. */
  push(piece: string): CitedPiece {
    this.#held += piece;
    return this.#read(false);
  }

  /** Gives what was held back: nothing more will come. */
  end(): CitedPiece {
    return this.#read(true);
  }

  #read(atEnd: boolean): CitedPiece {
    const out: CitedPiece = { text: '', citations: [] };
    while (this.#held !== '') {
      const plain = lengthBeforeMarker(this.#held);
      if (plain > 0) {
        this.#emit(out, this.#take(plain));
        continue;
      }
      const found = marker.exec(this.#held);
      if (found && this.#isCitation(found)) {
        this.#cite(out, found);
        this.#take(found[0].length);
      } else if (!found && !atEnd && this.#held.length < longestMarker && this.#mayGrow()) {
        break;
      } else {
        const bracket = this.#held.indexOf('[');
        this.#emit(out, this.#take(bracket < 0 ? this.#held.length : bracket + 1));
      }
    }
    return out;
  }

  #isCitation([whole, blanks = '', list = '']: RegExpExecArray): boolean {
    if (whole.length > longestMarker) return false;
    const unknown = numbersOf(list).filter((number) => !this.#sources.has(number));
    if (unknown.some((number) => number >= leastValue)) return false;
    const glued = blanks === '' && !this.#afterMarker && gluing.test(this.text.slice(-2));
    return !glued || unknown.length === 0;
  }

  #mayGrow(): boolean {
    return unfinishedMarker.test(this.#held) || /^\s+$/.test(this.#held);
  }

  #take(length: number): string {
    const taken = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return taken;
  }

  #emit(out: CitedPiece, text: string): void {
    out.text += text;
    this.text += text;
    this.#afterMarker = false;
    this.#prose = (this.#prose + text).slice(-statementWindow);
  }

  #cite(out: CitedPiece, [, blanks = '', list = '']: RegExpExecArray): void {
    this.#afterMarker = true;
    const known: number[] = [];
    for (const number of numbersOf(list)) {
      if (this.#sources.has(number)) known.push(number);
      else this.removed.add(number);
    }
    if (known.length === 0) return;
    const shown = blanks + known.map((number) => `[${number}]`).join('');
    out.text += shown;
    this.text += shown;
    for (const number of known) {
      const citation = this.#citation(this.#sources.get(number)!);
      const key = `${number}:${citation.quote_offsets.start}`;
      if (this.#seen.has(key)) continue;
      this.#seen.add(key);
      this.citations.push(citation);
      out.citations.push(citation);
    }
  }

  #citation(source: AnswerSource): Citation {
    const sentences = this.#sentences.get(source.number) ?? sentencesOf(source.text);
    this.#sentences.set(source.number, sentences);
    return citationOf(source, bestSupport(lastStatement(this.#prose), sentences));
  }
}

/** Length of what stands before the first bracket, or before blanks that a bracket may follow. */
function lengthBeforeMarker(text: string): number {
  const bracket = text.indexOf('[');
  return (bracket < 0 ? text : text.slice(0, bracket)).trimEnd().length;
}

/** A checked reference to a source, with the sentence of it that counts; without one, the whole chunk is quoted. */
export function citationOf(source: AnswerSource, sentence: Sentence | undefined): Citation {
  const { number, document_id, chunk_id, title, offsets } = source;
  const { start, end, text } = sentence ?? { start: 0, end: source.text.length, text: source.text };
  const quoted = { start: offsets.start + start, end: offsets.start + end };
  return {
    number,
    document_id,
    chunk_id,
    title,
    ...pagesOf(source, quoted),
    offsets,
    quote: text,
    quote_offsets: quoted,
  };
}

/** The page of the quote itself; a range where the quote crosses pages or can't be told apart within the chunk. */
function pagesOf(
  source: AnswerSource,
  quote: { start: number; end: number },
): Pick<Citation, 'page' | 'page_end'> {
  const { page, page_end, page_end_offset } = source;
  if (page === undefined) return {};
  if (page_end === undefined) return { page };
  if (page_end_offset !== undefined) {
    if (quote.start >= page_end_offset) return { page: page_end };
    const before = page_end - 1;
    if (quote.end <= page_end_offset) return before === page ? { page } : { page, page_end: before };
  }
  return { page, page_end };
}

/** Numbers of a marker; a range counts when it is a plausible one. */
function numbersOf(list: string): number[] {
  const numbers = new Set<number>();
  for (const part of list.split(/[,;]/)) {
    const [first = 0, last = first] = part.split(/[–-]/).map(Number);
    const end = last >= first && last - first < 100 ? last : first;
    for (let number = first; number <= end; number += 1) numbers.add(number);
    numbers.add(last);
  }
  return [...numbers];
}

/** The sentence that a marker at the end of this text belongs to. */
function lastStatement(prose: string): string {
  const sentences = sentencesOf(prose);
  const last = sentences.at(-1)?.text ?? '';
  return contentWords(last).size < 2 ? `${sentences.at(-2)?.text ?? ''} ${last}` : last;
}

/** The sentence that shares most content words with the statement, long ones held back a little. */
function bestSupport(statement: string, sentences: readonly Sentence[]): Sentence | undefined {
  const wanted = contentWords(statement);
  let best: { sentence: Sentence; score: number } | undefined;
  for (const sentence of sentences) {
    const words = contentWords(sentence.text);
    const score = coverage(wanted, words) + 0.25 * coverage(words, wanted);
    if (!best || score > best.score) best = { sentence, score };
  }
  return best?.sentence;
}
