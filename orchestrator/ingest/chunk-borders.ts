import { gapCost, type Unit } from './chunk-unit.ts';
import { type Border, border } from './sentences.ts';

/** Units [overlap, end) make a chunk; those before `begin` are shared with the one before. */
export interface ChunkRange {
  overlap: number;
  begin: number;
  end: number;
}

export interface ChunkSize {
  maxTokens: number;
  overlapTokens: number;
}

/** How full a chunk must be, as a share of its tokens, before a border of this kind may end it. */
const FILL: Readonly<Record<Border, number>> = {
  [border.beforeHeading]: 0.35,
  [border.paragraph]: 0.5,
  [border.line]: 0.6,
  [border.sentence]: 0.6,
  [border.afterHeading]: 1,
};
/** Share of a chunk that its border should leave for the next, so that no document ends in a scrap. */
const LEAST_REST = 0.25;

/** FNV-1a of a piece of text. */
function hash(text: string, { start, end }: Unit): number {
  let value = 0x811c9dc5;
  for (let i = start; i < end; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}

/**
 * Chooses where chunks end. In the stretch where a chunk is reasonably full, the strongest kind of border wins, and
 * among equals the one whose sentence has the highest hash: the choice depends on the text around it and hardly on
 * where the chunk began, so after an edit the borders soon fall where they fell before, and only the chunks around
 * the edit are new.
 */
export class ChunkBorders {
  readonly #text: string;
  readonly #units: readonly Unit[];
  readonly #size: ChunkSize;
  /** Cost of all units before this one. */
  readonly #before: Float64Array;

  constructor(text: string, units: readonly Unit[], size: ChunkSize) {
    this.#text = text;
    this.#units = units;
    this.#size = { ...size, overlapTokens: Math.min(size.overlapTokens, Math.floor(size.maxTokens / 2)) };
    this.#before = new Float64Array(units.length + 1);
    for (const [i, unit] of units.entries()) {
      const next = units[i + 1];
      this.#before[i + 1] = this.#before[i]! + unit.cost + (next === undefined ? 0 : gapCost(unit, next));
    }
  }

  *ranges(): Generator<ChunkRange> {
    let previous = -1;
    for (let begin = 0; begin < this.#units.length; ) {
      const overlap = this.#overlap(begin, previous);
      const end = this.#end(overlap, begin);
      yield { overlap, begin, end };
      previous = begin;
      begin = end;
    }
  }

  /** Tokens of units [from, to). */
  #cost(from: number, to: number): number {
    return this.#before[to]! - this.#before[from]!;
  }

  /** First unit of the overlap: whole sentences, not over a heading, and room left for the chunk's own first one. */
  #overlap(begin: number, previous: number): number {
    const { maxTokens, overlapTokens } = this.#size;
    let first = begin;
    while (first - 1 > previous && first > 0) {
      const kind = this.#units[first - 1]!.border;
      if (kind === border.beforeHeading || this.#cost(first - 1, begin) > overlapTokens) break;
      if (this.#cost(first - 1, begin + 1) > maxTokens) break;
      first--;
    }
    return first;
  }

  #end(overlap: number, begin: number): number {
    const { maxTokens } = this.#size;
    const count = this.#units.length;
    let last = begin + 1;
    while (last < count && this.#cost(overlap, last + 1) <= maxTokens) last++;
    if (last === count) return count;
    let best = -1;
    let bestHash = -1;
    for (let end = begin + 1; end <= last; end++) {
      const kind = this.#units[end - 1]!.border;
      if (kind < (best < 0 ? border.sentence : this.#units[best - 1]!.border)) continue;
      if (this.#cost(overlap, end) < FILL[kind] * maxTokens) continue;
      if (this.#cost(end, count) < LEAST_REST * maxTokens && best >= 0) break;
      const rank = hash(this.#text, this.#units[end - 1]!);
      if (best >= 0 && kind === this.#units[best - 1]!.border && rank < bestHash) continue;
      best = end;
      bestHash = rank;
    }
    return best < 0 ? this.#fullest(begin, last) : best;
  }

  /** The latest end that does not part a heading from its text. */
  #fullest(begin: number, last: number): number {
    for (let end = last; end > begin; end--) {
      if (this.#units[end - 1]!.border !== border.afterHeading) return end;
    }
    return last;
  }
}
