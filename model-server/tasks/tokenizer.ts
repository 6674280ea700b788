import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { ServingError } from '../errors.ts';
import type { TokenRow } from '../types.ts';
import { type Encode, knownWords } from './known-words.ts';
import { wordPipelineOf } from './word-pipeline.ts';

/** Texts longer than this are tokenised in pieces, with a pause after each, so that the event loop stays alive. */
const PIECE_CHARS = 32_768;
/** How long tokenising may hold the event loop at a stretch, in milliseconds. */
const SLICE_MS = 5;

/** Of one of a tokenizer's files; the largest vocabularies take a tenth of it. */
const MOST_BYTES = 256 * 1024 * 1024;

export interface EncodedText {
  row: TokenRow;
  /** Tokens of the whole text, special tokens included. */
  tokens: number;
  truncated: boolean;
}

/** Special tokens around one text or a pair, as the tokenizer's post-processor puts them. */
interface Template {
  prefix: number[];
  middle: number[];
  suffix: number[];
  /** Type ids of: prefix, first text, middle, second text, suffix. */
  types: [number, number, number, number, number];
}

/**
 * Tokenizers in use, by the hash of their files. A vocabulary takes ten megabytes and more: versions of a model, and a
 * model that comes and goes, should not each make one. What nobody uses is left to the garbage collector.
 */
const shared = new Map<string, WeakRef<TextTokenizer>>();

/** The tokenizer of one model version, from its Hugging Face `tokenizer.json`. */
export class TextTokenizer {
  readonly #encode: Encode;
  readonly #single: Template;
  readonly #pair: Template;

  private constructor(files: { tokenizer: object; config: object }) {
    const tokenizer = new Tokenizer(files.tokenizer, files.config);
    const encode: Encode = (text) => tokenizer.encode(text, { add_special_tokens: false }).ids;
    const pipeline = wordPipelineOf(files.tokenizer, files.config);
    this.#encode = pipeline === undefined ? encode : knownWords(encode, pipeline);
    this.#single = learnTemplate(tokenizer, null);
    this.#pair = learnTemplate(tokenizer, 'b');
  }

  /**
   * The tokenizer of the first folder that has its files. Versions with the same files share one.
   * @throws ServingError MODEL_LOAD_FAILED naming the file that is missing or broken.
   */
  static load(folders: readonly string[]): TextTokenizer {
    const files = ['tokenizer.json', 'tokenizer_config.json'].map((name) => readFirst(folders, name));
    const hash = createHash('sha256');
    for (const { text } of files) hash.update(text).update('\0');
    const key = hash.digest('hex');
    const known = shared.get(key)?.deref();
    if (known !== undefined) return known;
    const [tokenizer, config] = files.map(parseJson);
    const loaded = new TextTokenizer({ tokenizer: tokenizer!, config: config! });
    for (const [other, reference] of shared) if (reference.deref() === undefined) shared.delete(other);
    shared.set(key, new WeakRef(loaded));
    return loaded;
  }

  /** Special tokens that a single text is given. */
  get specialTokens(): number {
    return this.#single.prefix.length + this.#single.suffix.length;
  }

  /** Special tokens before and after a single text. */
  get specials(): { before: number; after: number } {
    return { before: this.#single.prefix.length, after: this.#single.suffix.length };
  }

  /** Token ids of each text, special tokens not included. Gives the event loop a turn when it takes long. */
  async idsOf(texts: readonly string[], signal?: AbortSignal): Promise<number[][]> {
    const all: number[][] = [];
    let sliceStart = performance.now();
    for (const text of texts) {
      let ids: number[] | undefined;
      for (const piece of pieces(text)) {
        const more = this.#encode(piece);
        if (ids === undefined) ids = more;
        // push(...more) would overflow the stack on a long piece.
        else for (const id of more) ids.push(id);
        if (performance.now() - sliceStart < SLICE_MS) continue;
        await new Promise((resolve) => setImmediate(resolve));
        signal?.throwIfAborted();
        sliceStart = performance.now();
      }
      all.push(ids ?? []);
    }
    return all;
  }

  /** One text between its special tokens; its end is dropped beyond `maxTokens`. */
  wrap(ids: readonly number[], maxTokens: number): EncodedText {
    const { prefix, suffix } = this.#single;
    const room = Math.max(0, maxTokens - this.specialTokens);
    const kept = ids.length > room ? ids.slice(0, room) : ids;
    return {
      row: { ids: joined([prefix, kept, suffix]) },
      tokens: ids.length + this.specialTokens,
      truncated: kept.length < ids.length,
    };
  }

  /** A pair between its special tokens; beyond `maxTokens` the longer of the two loses its end first. */
  wrapPair(first: readonly number[], second: readonly number[], maxTokens: number): EncodedText {
    const { prefix, middle, suffix, types } = this.#pair;
    const specials = prefix.length + middle.length + suffix.length;
    const [firstLength, secondLength] = longestFirst(
      first.length,
      second.length,
      Math.max(0, maxTokens - specials),
    );
    const parts = [prefix, first.slice(0, firstLength), middle, second.slice(0, secondLength), suffix];
    const ids = joined(parts);
    const typeIds = new Int32Array(ids.length);
    let at = 0;
    parts.forEach(({ length }, index) => {
      typeIds.fill(types[index]!, at, at + length);
      at += length;
    });
    return {
      row: { ids, typeIds },
      tokens: first.length + second.length + specials,
      truncated: firstLength + secondLength < first.length + second.length,
    };
  }
}

/** Encodes a known text and looks where its tokens stand, which works for every post-processor. */
function learnTemplate(tokenizer: Tokenizer, second: string | null): Template {
  const a = tokenizer.encode('a', { add_special_tokens: false }).ids;
  const b = second === null ? [] : tokenizer.encode(second, { add_special_tokens: false }).ids;
  const whole = tokenizer.encode('a', { text_pair: second, return_token_type_ids: true });
  const atA = find(whole.ids, a, 0);
  const endA = atA + a.length;
  const atB = second === null ? endA : find(whole.ids, b, endA);
  const endB = atB + b.length;
  const type = (index: number) =>
    whole.token_type_ids[Math.max(0, Math.min(index, whole.ids.length - 1))] ?? 0;
  return {
    prefix: whole.ids.slice(0, atA),
    middle: whole.ids.slice(endA, atB),
    suffix: whole.ids.slice(endB),
    types: [type(0), type(atA), type(endA), type(atB), type(whole.ids.length - 1)],
  };
}

/** Written in place: `Int32Array.from` goes through an iterator and takes three times as long. */
function joined(parts: readonly (readonly number[])[]): Int32Array {
  const ids = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    ids.set(part, at);
    at += part.length;
  }
  return ids;
}

/** How much of each of two texts stays so that both fit: the longer one loses first, as in the reference ("longest_first"). */
function longestFirst(first: number, second: number, room: number): [number, number] {
  if (first + second <= room) return [first, second];
  const half = Math.floor(room / 2);
  const shorter = Math.min(first, second, half);
  return first > second ? [room - shorter, shorter] : [shorter, room - shorter];
}

function find(haystack: readonly number[], needle: readonly number[], from: number): number {
  for (let at = from; at + needle.length <= haystack.length; at++) {
    if (needle.every((id, offset) => haystack[at + offset] === id)) return at;
  }
  throw new ServingError(
    'MODEL_LOAD_FAILED',
    "the tokenizer's post-processor changes the tokens of a text; such tokenizers are not served",
  );
}

/**
 * A long text, cut before white space so that no word is split; where there is none, between two characters. Other kinds of
 * white space are no borders to every tokenizer.
 */
function* pieces(text: string): Generator<string> {
  let from = 0;
  while (text.length - from > PIECE_CHARS) {
    const limit = from + PIECE_CHARS;
    const space = text.slice(limit, limit + PIECE_CHARS).search(/[ \t\n\r]/);
    let next = space < 0 ? Math.min(limit + PIECE_CHARS, text.length) : limit + space;
    // Never between the halves of a surrogate pair.
    if (/[\uDC00-\uDFFF]/.test(text.charAt(next))) next++;
    yield text.slice(from, next);
    from = next;
  }
  yield text.slice(from);
}

interface TextFile {
  path: string;
  text: string;
}

function readFirst(folders: readonly string[], name: string): TextFile {
  const path = folders.map((folder) => join(folder, name)).find((candidate) => existsSync(candidate));
  if (path === undefined) {
    const where = folders.join(' or ');
    throw new ServingError(
      'MODEL_LOAD_FAILED',
      `${name} is missing: expected in ${where}. Copy it from the model's page on the hub.`,
    );
  }
  const stat = statSync(path);
  // Reading a named pipe would wait for a writer for ever.
  if (!stat.isFile() || stat.size > MOST_BYTES) {
    throw new ServingError(
      'MODEL_LOAD_FAILED',
      `${path} must be a regular file of at most ${MOST_BYTES} bytes; it has ${stat.size}.`,
    );
  }
  return { path, text: readFileSync(path, 'utf8') };
}

function parseJson({ path, text }: TextFile): object {
  try {
    return JSON.parse(text) as object;
  } catch (cause) {
    throw new ServingError('MODEL_LOAD_FAILED', `${path} is not valid JSON: ${(cause as Error).message}`, {
      cause,
    });
  }
}
