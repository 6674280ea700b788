import { type TextPool, VARIED_BYTES } from './texts.ts';
import { FOUR_LETTERS } from './words.ts';

/** One request, ready to be sent. */
export interface EncodedRequest {
  body: Buffer;
  texts: number;
  tokens: number;
}

interface Template {
  bytes: Buffer;
  texts: number;
  tokens: number;
  /** Per text: where it starts, and how many of its words are written anew. */
  starts: readonly number[];
  words: readonly number[];
}

export interface SourceOptions {
  textsPerCall: number;
  encode: (texts: readonly string[], first: number) => Uint8Array;
  /** Where the count of texts starts, so that two runs do not send the same. */
  firstText: number;
}

const WORDS = FOUR_LETTERS.map((word) => Buffer.from(word));

/**
 * Requests without end, encoded once and then only copied: the first words of each text are overwritten with a count, in
 * words, so that no two requests are the same and the client spends next to nothing on it.
 */
export class RequestSource {
  readonly #templates: readonly Template[];
  #next = 0;
  #count: number;

  constructor(pool: TextPool, { textsPerCall, encode, firstText }: SourceOptions) {
    this.#count = firstText;
    this.#templates = Array.from({ length: Math.ceil(pool.texts.length / textsPerCall) }, (_, call) => {
      const first = call * textsPerCall;
      // The last call is filled up from the start, for all calls must weigh the same.
      const at = Array.from({ length: textsPerCall }, (_, i) => (first + i) % pool.texts.length);
      const texts = at.map((index) => pool.texts[index]!);
      const bytes = Buffer.from(encode(texts, first));
      const words = at.map((index) => pool.variedWords[index]!);
      const tokens = at.reduce((sum, index) => sum + pool.tokens[index]!, 0);
      return { bytes, texts: textsPerCall, tokens, words, starts: startsOf(texts, bytes, words) };
    });
  }

  next(): EncodedRequest {
    const template = this.#templates[this.#next]!;
    this.#next = (this.#next + 1) % this.#templates.length;
    // A copy, as the last use of the template may still wait in a socket.
    const body = Buffer.from(template.bytes);
    for (let text = 0; text < template.texts; text++) {
      let rest = this.#count++;
      let at = template.starts[text]!;
      for (let word = template.words[text]!; word > 0; word--, at += VARIED_BYTES) {
        body.set(WORDS[rest % WORDS.length]!, at);
        rest = Math.floor(rest / WORDS.length);
      }
    }
    return { body, texts: template.texts, tokens: template.tokens };
  }
}

/** Where each text stands in the request; -1 where none is to be written anew. */
function startsOf(texts: readonly string[], bytes: Buffer, words: readonly number[]): number[] {
  let from = 0;
  return texts.map((text, index) => {
    if (words[index] === 0) return -1;
    const start = bytes.indexOf(text, from);
    if (start >= 0) from = start + text.length;
    return start;
  });
}
