import { LRUCache } from 'lru-cache';
import type { WordPipeline } from './word-pipeline.ts';

/** Token ids of a text, special tokens not included, in an array of its own. */
export type Encode = (text: string) => number[];

/** Words that are remembered: about 5 MB of English. Nearly all words of a text are among a language's commonest. */
const MOST_WORDS = 32_768;
/** Characters of a remembered word, so that the worst words take some 15 MB. */
const MOST_CHARS = 32;

/**
 * The same ids as `encode` gives, for which it is asked about each word once as long as the word is remembered: the tokens of
 * a text are those of its words. Only what looks like an added token depends on its company, so a text with such a word is
 * left to `encode` as a whole.
 */
export function knownWords(encode: Encode, { word: pattern, addedTokens }: WordPipeline): Encode {
  const looks = addedTokens.map(plain);
  const known = new LRUCache<string, readonly number[]>({ max: MOST_WORDS });
  const learn = (word: string): readonly number[] | undefined => {
    const bare = plain(word);
    if (looks.some((look) => bare.includes(look))) return undefined;
    const ids = encode(word);
    if (word.length <= MOST_CHARS) known.set(ownCopy(word), ids);
    return ids;
  };
  return (text) => {
    const all: number[] = [];
    for (const word of text.match(pattern) ?? []) {
      const ids = known.get(word) ?? learn(word);
      if (ids === undefined) return encode(text);
      for (const id of ids) all.push(id);
    }
    return all;
  };
}

/** All that a normaliser may take from a word is gone, so that whatever it could make an added token of holds one. */
function plain(word: string): string {
  return word
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[\p{C}\p{Mn}\uFFFD]/gu, '');
}

/** A slice of a text would keep the whole text in memory. */
function ownCopy(word: string): string {
  return ` ${word}`.slice(1);
}
