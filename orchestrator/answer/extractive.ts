import { RagError } from '../errors.ts';
import type { Embedder, SpaceOptions } from '../ports.ts';
import { citationOf } from './citations.ts';
import type { AnswerDegradation, AnswerSource, Citation } from './event.ts';
import { inSpaceAtBest } from './in-space-at-best.ts';
import { notFoundSentence } from './prompt.ts';
import type { Sentence } from './sentence.ts';
import { contentWords, coverage, sentencesOf } from './sentence.ts';

/** One sentence of an extractive answer as it is shown, with where it comes from. */
export interface ExtractedSentence {
  text: string;
  citation: Citation;
}

export interface Extraction {
  /** Best first; empty when nothing was relevant. */
  sentences: ExtractedSentence[];
  /** Says that sentences were chosen by words alone, when they could not be embedded. */
  degraded: AnswerDegradation[];
}

interface Candidate {
  source: AnswerSource;
  sentence: Sentence;
  words: Set<string>;
  vector?: Float32Array | undefined;
  /** How well it fits the question by itself. */
  relevance: number;
}

/** Chunks that sentences are taken from, and sentences that are embedded, at most. */
const maxChunks = 8;
const maxCandidates = 96;
const maxSentences = 4;
const maxAnswerLength = 1_200;
/** Shorter ones are headings and fragments; longer ones are tables and lists without stops. */
const sentenceLength = { min: 25, max: 600 };

/**
 * Below this relevance a sentence does not speak about the question. Measured with MiniLM int8 on Cranfield: the best
 * sentence has 0.58 or more for 95 % of its own questions, and 0.34 or less for 15 of 16 questions on other matters.
 */
const leastRelevance = 0.45;
/** A further sentence must come this near to the best one. */
const leastShareOfBest = 0.75;
const weights = {
  /** Of the share of the question's content words that the sentence has: names and codes say little to a vector. */
  words: 0.25,
  /** Of the rank of the chunk: 1 for the first, less for the others. */
  chunk: 0.1,
  /** Of the likeness to a sentence that was chosen already. */
  redundancy: 0.5,
};
/** Two sentences that are this alike say the same. */
const duplicateSimilarity = 0.95;

/**
 * Answers without a chat model: the sentences of the best chunks that fit the question best, word for word, each
 * with its source. Fit is the cosine of question and sentence, with a bonus for common words and for the chunk's
 * rank; what repeats a chosen sentence is held back (maximal marginal relevance).
 * @throws RagError the caller's reason when its signal aborts
 */
export async function extract(
  input: { query: string; sources: readonly AnswerSource[] },
  embedder: Embedder,
  options: SpaceOptions = {},
): Promise<Extraction> {
  const candidates = candidatesOf(input.sources);
  const wanted = contentWords(input.query);
  const degraded: AnswerDegradation[] = [];
  let similarities = candidates.map(() => 0);
  try {
    const texts = [input.query, ...candidates.map(({ sentence }) => sentence.text)];
    const { vectors } = await inSpaceAtBest((where) => embedder.embed(texts, where), options);
    similarities = candidates.map((candidate, index) => {
      candidate.vector = vectors[index + 1]!;
      return dot(vectors[0]!, candidate.vector);
    });
  } catch (thrown) {
    if (options.signal?.aborted) throw RagError.from(options.signal.reason);
    const { reason, message } = RagError.from(thrown);
    degraded.push({ source: 'sentences', reason, message });
  }
  for (const [index, candidate] of candidates.entries()) {
    const share = coverage(wanted, candidate.words);
    // Without vectors the words must carry the whole weight.
    const fit = candidate.vector ? similarities[index]! + weights.words * share : share;
    candidate.relevance = fit;
  }
  return { sentences: choose(candidates).map(shown), degraded };
}

/** Said instead of an answer when nothing was relevant. */
export const nothingFound = notFoundSentence;

function candidatesOf(sources: readonly AnswerSource[]): Candidate[] {
  const seen = new Set<string>();
  const candidates: Candidate[] = [];
  for (const source of sources.slice(0, maxChunks)) {
    for (const sentence of sentencesOf(source.text)) {
      const { length } = sentence.text;
      const words = contentWords(sentence.text);
      const fits = length >= sentenceLength.min && length <= sentenceLength.max && words.size >= 3;
      // A heading often says the question's own words and answers nothing.
      const isHeading = /^#{1,6}\s/.test(sentence.text);
      if (!fits || isHeading || seen.has(sentence.text)) continue;
      seen.add(sentence.text);
      candidates.push({ source, sentence, words, relevance: 0 });
      if (candidates.length === maxCandidates) return candidates;
    }
  }
  return candidates;
}

function choose(candidates: readonly Candidate[]): Candidate[] {
  const best = Math.max(0, ...candidates.map(({ relevance }) => relevance));
  const bar = Math.max(leastRelevance, best * leastShareOfBest);
  let open = candidates.filter(({ relevance }) => relevance >= bar);
  const chosen: Candidate[] = [];
  let length = 0;
  while (open.length > 0 && chosen.length < maxSentences) {
    const next = open.reduce((a, b) => (worth(b, chosen) > worth(a, chosen) ? b : a));
    length += next.sentence.text.length;
    if (chosen.length > 0 && length > maxAnswerLength) break;
    chosen.push(next);
    open = open.filter((candidate) => candidate !== next && likeness(candidate, next) < duplicateSimilarity);
  }
  return chosen;
}

function worth(candidate: Candidate, chosen: readonly Candidate[]): number {
  const repeats = Math.max(0, ...chosen.map((other) => likeness(candidate, other)));
  const chunk = weights.chunk / candidate.source.number;
  return candidate.relevance + chunk - weights.redundancy * repeats;
}

function likeness(a: Candidate, b: Candidate): number {
  if (a.vector && b.vector) return dot(a.vector, b.vector);
  return Math.min(coverage(a.words, b.words), coverage(b.words, a.words));
}

/** A long-standing line end inside a sentence is a blank to the reader; the quote stays word for word. */
function shown({ source, sentence }: Candidate): ExtractedSentence {
  const text = sentence.text.replaceAll(/\s+/g, ' ');
  return { text: `${text} [${source.number}]`, citation: citationOf(source, sentence) };
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let index = 0; index < a.length; index += 1) sum += a[index]! * b[index]!;
  return sum;
}
