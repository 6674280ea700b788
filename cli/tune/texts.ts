import { sampleLengths, type Workload } from './lengths.ts';

/** How many tokens each text has, special tokens not included, and how many of those a text gets besides. */
export type CountTokens = (texts: string[]) => Promise<{ counts: number[]; specialTokens: number }>;

/** Gives the next text to send. */
export type NextText = () => string;

const WORDS =
  'how does the server batch many small questions from different users into one pass over model weights and keep every answer fast when some are long others short'.split(
    ' ',
  );
const LENGTHS = 1024;

/** The texts as they were given, over and over; or endless new ones of common words, with the lengths that were given. */
export async function textsOf(workload: Workload, countTokens: CountTokens): Promise<NextText> {
  let sent = 0;
  const { texts } = workload;
  if (texts !== undefined) return () => texts[sent++ % texts.length]!;
  const { counts, specialTokens } = await countTokens(WORDS);
  const lengths = sampleLengths(workload.lengths, LENGTHS);
  const random = randomNumbers(42);
  // Every text is another one, so that nothing can be answered from a cache.
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
