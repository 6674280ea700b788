import { stemmer } from 'stemmer';
import { englishStopWords } from './english-stop-words.ts';

const k1 = 1.2;
const b = 0.75;

// BM25 wants the average length of all texts. A sparse vector must not depend on its neighbours, so this is a constant:
// what a chunk of 200 tokens leaves when its stop words are gone.
const averageTerms = 100;

const longestTerm = 40;
const stopWords = new Set(englishStopWords);
const words = /[\p{L}\p{N}\p{M}]+/gu;
const unspacedScript =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
const english = /^[a-z]+$/;
const diacritics = /[\u0300-\u036f]/g;
const segmenter = new Intl.Segmenter('en', { granularity: 'word' });

/** A sparse vector as Qdrant takes it: no index twice. */
export interface SparseVector {
  indices: number[];
  values: number[];
}

/**
 * The document's side of BM25: each term's frequency, saturated and set against the length of the text. The server
 * multiplies by the term's inverse document frequency. Title words count twice, as in the embedded store.
 */
export function sparseDocument(title: string, text: string): SparseVector {
  const titleTerms = terms(title);
  const all = [...titleTerms, ...titleTerms, ...terms(text)];
  const frequency = new Map<number, number>();
  for (const term of all) {
    const index = termIndex(term);
    frequency.set(index, (frequency.get(index) ?? 0) + 1);
  }
  const length = k1 * (1 - b + (b * all.length) / averageTerms);
  return {
    indices: [...frequency.keys()],
    values: Array.from(frequency.values(), (count) => (count * (k1 + 1)) / (count + length)),
  };
}

/** The query's side of BM25: each term once, whatever the query repeats. Empty when nothing is left to search for. */
export function sparseQuery(query: string): SparseVector {
  const indices = [...new Set(terms(query).map(termIndex))];
  return { indices, values: indices.map(() => 1) };
}

/** What a text is searched by: lower case, without accents, stop words and endings. */
export function terms(text: string): string[] {
  const folded = text.normalize('NFKD').replace(diacritics, '').normalize('NFKC').toLowerCase();
  const found: string[] = [];
  for (const [word] of folded.matchAll(words)) {
    for (const part of unspacedScript.test(word) ? segments(word) : [word]) {
      if (part.length > longestTerm || stopWords.has(part)) continue;
      found.push(english.test(part) ? stemmer(part) : part);
    }
  }
  return found;
}

function segments(word: string): string[] {
  return Array.from(segmenter.segment(word), (one) => one.segment);
}

/** FNV-1a in 32 bits: among 100,000 terms one pair is expected to meet. */
function termIndex(term: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < term.length; index += 1) {
    hash = Math.imul(hash ^ term.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}
