import { setImmediate } from 'node:timers/promises';
import type { CallOptions, ChunkSpan } from '../ports.ts';
import { ChunkBorders, type ChunkSize } from './chunk-borders.ts';
import { type CountTokens, type Unit, UnitCutter } from './chunk-unit.ts';
import type { PageSpan, ReadDocument } from './document.ts';
import { type Sentence, sentences } from './sentences.ts';

export type { CountTokens } from './chunk-unit.ts';

/** A chunk's place and its text: exactly `text.slice(start, end)` of the document. */
export interface Chunk extends ChunkSpan {
  text: string;
}

export interface ChunkOptions extends ChunkSize, CallOptions {
  /** Tokens of each text, special tokens not included; asked for up to 256 texts at a time. */
  countTokens: CountTokens;
  /** Tokens in a chunk at most. */
  maxTokens: number;
  /** Tokens that neighbouring chunks share at most, in whole sentences. */
  overlapTokens: number;
  /** Called as the text is worked through, in UTF-16 code units. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Sentences that are counted before other work gets its turn. */
const SENTENCES_PER_TURN = 256;
const CHUNKS_PER_TURN = 100;

function* groups(all: Iterable<Sentence>): Generator<Sentence[]> {
  let group: Sentence[] = [];
  for (const sentence of all) {
    group.push(sentence);
    if (group.length === SENTENCES_PER_TURN) {
      yield group;
      group = [];
    }
  }
  if (group.length > 0) yield group;
}

async function unitsOf(text: string, options: ChunkOptions): Promise<Unit[]> {
  const cutter = new UnitCutter(text, options.countTokens, options.maxTokens);
  const units: Unit[] = [];
  for (const group of groups(sentences(text))) {
    options.signal?.throwIfAborted();
    for (const unit of await cutter.cut(group)) units.push(unit);
    options.onProgress?.(units.at(-1)?.end ?? 0, text.length);
    await setImmediate();
  }
  return units;
}

/** Finds the page of ever later offsets. */
class PageCursor {
  readonly #pages: readonly PageSpan[];
  #at = 0;

  constructor(pages: readonly PageSpan[]) {
    this.#pages = pages;
  }

  pageOf(offset: number): PageSpan | undefined {
    while (this.#at > 0 && offset < this.#pages[this.#at]!.start) this.#at--;
    while (this.#at < this.#pages.length - 1 && offset >= this.#pages[this.#at]!.end) this.#at++;
    return this.#pages[this.#at];
  }
}

/**
 * Cuts a document into chunks of whole sentences, in order, with an overlap of whole sentences. A sentence is cut
 * only when it alone has more than `maxTokens`. The same text gives the same chunks, and a small edit changes only
 * the chunks around it.
 * @throws what `countTokens` throws, and the signal's reason
 */
export async function chunk(
  document: Pick<ReadDocument, 'text' | 'pages'>,
  options: ChunkOptions,
): Promise<Chunk[]> {
  const { text, pages = [] } = document;
  const units = await unitsOf(text, options);
  const cursor = new PageCursor(pages);
  const chunks: Chunk[] = [];
  for (const range of new ChunkBorders(text, units, options).ranges()) {
    const start = units[range.overlap]!.start;
    const end = units[range.end - 1]!.end;
    const page = cursor.pageOf(start);
    const lastPage = cursor.pageOf(end - 1);
    const crossed = lastPage === page ? undefined : lastPage;
    chunks.push({
      start,
      end,
      page: page?.number,
      pageEnd: crossed?.number,
      pageEndOffset: crossed?.start,
      text: text.slice(start, end),
    });
    if (chunks.length % CHUNKS_PER_TURN === 0) await setImmediate();
  }
  return chunks;
}
