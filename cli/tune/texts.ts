import { type Histogram, sampleLengths, type Workload } from './lengths.ts';

/** How many tokens each text has, special tokens not included, and how many of those a text gets besides. */
export type CountTokens = (texts: string[]) => Promise<{ counts: number[]; specialTokens: number }>;

/** Gives the next text to send. */
export type NextText = () => string;

const WORDS =
  'how does the server batch many small questions from different users into one pass over model weights and keep every answer fast when some are long others short'.split(
    ' ',
  );
const LENGTHS = 1024;
const TEXTS_PER_CALL = 1000;

/**
 * Endless new texts of common words, with the lengths that were given, or those of the texts that were given: a server that
 * gets the same text twice may compute it once.
 */
export async function textsOf(workload: Workload, countTokens: CountTokens): Promise<NextText> {
  const { counts, specialTokens } = await countTokens(WORDS);
  const histogram = workload.lengths ?? (await lengthsOf(workload.texts, countTokens));
  const lengths = sampleLengths(histogram, LENGTHS);
  const random = randomNumbers(42);
  let sent = 0;
  return () => {
    const words: string[] = [];
    let left = lengths[sent++ % LENGTHS]! - specialTokens;
    while (left > 0 || words.length === 0) {
      const at = Math.floor(random() * WORDS.length);
      words.push(WORDS[at]!);
      left -= Math.max(1, counts[at]!);
    }
    return words.join(' ');
  };
}

async function lengthsOf(texts: readonly string[], countTokens: CountTokens): Promise<Histogram> {
  const lengths = new Map<number, number>();
  for (let at = 0; at < texts.length; at += TEXTS_PER_CALL) {
    const { counts, specialTokens } = await countTokens(texts.slice(at, at + TEXTS_PER_CALL));
    for (const count of counts) {
      const length = count + specialTokens;
      lengths.set(length, (lengths.get(length) ?? 0) + 1);
    }
  }
  return lengths;
}

/** The same numbers in [0, 1) for the same seed (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
