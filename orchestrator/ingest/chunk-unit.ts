import { type Border, border, type Sentence } from './sentences.ts';

/** Tokens of each text as the embedding model counts them. */
export type CountTokens = (texts: readonly string[]) => Promise<number[]>;

/** What a chunk is made of: a sentence, or a part of one that is too long for a chunk. */
export interface Unit {
  start: number;
  end: number;
  /** Tokens, or what its characters cost when a tokenizer counts a long run of them as few. */
  cost: number;
  border: Border;
}

interface Span {
  start: number;
  end: number;
}

interface PricedSpan extends Span {
  cost: number;
}

type Level = 'lines' | 'words' | 'characters';
const finer: Readonly<Record<Level, Level>> = {
  lines: 'words',
  words: 'characters',
  characters: 'characters',
};

const CONTINUES_CHARACTER = /^(?:[\udc00-\udfff]|\p{M}|\u200d)/u;

/** A text counts at least a token for so many characters, so that a run without blanks can't make a huge chunk. */
const CHARACTERS_PER_TOKEN = 16;
/** Texts and characters that are counted in one call at most. */
const MAX_TEXTS = 256;
const MAX_CHARACTERS = 131_072;

/** Blanks between two units, priced like the characters of a text. */
export function gapCost(before: { end: number }, after: { start: number }): number {
  return Math.floor((after.start - before.end) / CHARACTERS_PER_TOKEN);
}

function* calls(spans: readonly Span[]): Generator<Span[]> {
  let call: Span[] = [];
  let characters = 0;
  for (const span of spans) {
    const length = span.end - span.start;
    if (call.length === MAX_TEXTS || (call.length > 0 && characters + length > MAX_CHARACTERS)) {
      yield call;
      call = [];
      characters = 0;
    }
    call.push(span);
    characters += length;
  }
  if (call.length > 0) yield call;
}

/** Cuts sentences into units of at most `maxTokens`. */
export class UnitCutter {
  readonly #text: string;
  readonly #count: CountTokens;
  readonly #maxTokens: number;

  constructor(text: string, count: CountTokens, maxTokens: number) {
    this.#text = text;
    this.#count = count;
    this.#maxTokens = maxTokens;
  }

  /** Units of some sentences, in order. */
  async cut(sentences: readonly Sentence[]): Promise<Unit[]> {
    const priced = await this.#priced(sentences);
    const units: Unit[] = [];
    for (const [index, sentence] of sentences.entries()) {
      const { cost } = priced[index]!;
      if (cost <= this.#maxTokens) units.push({ ...sentence, cost });
      else for (const unit of await this.#cutLong(sentence, cost)) units.push(unit);
    }
    return units;
  }

  async #cutLong(sentence: Sentence, cost: number): Promise<Unit[]> {
    const units: Unit[] = [];
    for (const part of await this.#fit({ ...sentence, cost }, 'lines')) {
      units.push({ start: part.start, end: part.end, cost: part.cost, border: border.sentence });
    }
    units.at(-1)!.border = sentence.border;
    return units;
  }

  /** Parts that fit: lines if the sentence has several, else words, else runs of characters. */
  async #fit(long: PricedSpan, level: Level): Promise<PricedSpan[]> {
    const parts = await this.#priced(this.#split(long, level));
    const fitting: PricedSpan[] = [];
    for (const part of parts) {
      const last = fitting.at(-1);
      if (part.cost > this.#maxTokens && part.end - part.start > 1) {
        const smaller = await this.#fit(part, parts.length === 1 ? finer[level] : level);
        for (const piece of smaller) fitting.push(piece);
      } else if (level !== 'lines' && last !== undefined && this.#together(last, part) <= this.#maxTokens) {
        last.cost = this.#together(last, part);
        last.end = part.end;
      } else {
        fitting.push(part);
      }
    }
    return fitting;
  }

  #together(before: PricedSpan, after: PricedSpan): number {
    return before.cost + gapCost(before, after) + after.cost;
  }

  #split(long: PricedSpan, level: Level): Span[] {
    if (level === 'characters') return this.#equalRuns(long);
    const parts: Span[] = [];
    const piece = this.#text.slice(long.start, long.end);
    for (const { 0: match, index } of piece.matchAll(level === 'lines' ? /[^\n]+/g : /\S+/g)) {
      const lead = match.length - match.trimStart().length;
      const start = long.start + index;
      if (lead < match.length) parts.push({ start: start + lead, end: start + match.trimEnd().length });
    }
    return parts;
  }

  /** Runs of equal length that should fit, not cut inside a character of two code units or with combining marks. */
  #equalRuns({ start, end, cost }: PricedSpan): Span[] {
    const length = Math.max(
      1,
      Math.min((end - start) >> 1, Math.floor(((end - start) * this.#maxTokens) / cost)),
    );
    const runs: Span[] = [];
    for (let from = start; from < end; ) {
      let to = Math.min(end, from + length);
      const wanted = to;
      while (to < end && to - wanted < 16 && CONTINUES_CHARACTER.test(this.#text.slice(to, to + 2))) to++;
      runs.push({ start: from, end: to });
      from = to;
    }
    return runs;
  }

  async #priced(spans: readonly Span[]): Promise<PricedSpan[]> {
    const priced: PricedSpan[] = [];
    for (const call of calls(spans)) {
      const texts = call.map(({ start, end }) => this.#text.slice(start, end));
      const counts = await this.#count(texts);
      for (const [index, span] of call.entries()) {
        const byLength = Math.ceil((span.end - span.start) / CHARACTERS_PER_TOKEN);
        priced.push({ start: span.start, end: span.end, cost: Math.max(counts[index] ?? 0, byLength) });
      }
    }
    return priced;
  }
}
