import { checkLength, type PrepareOptions } from './embed.ts';
import type { EncodedText, TextTokenizer } from './tokenizer.ts';

/** How a score was made; scores of two kinds must not be compared. */
export type ScoreKind = 'late_interaction' | 'cross_encoder';

/**
 * Query and documents as pairs for a cross-encoder. An empty document leaves the query alone, as in the reference
 * (transformers takes an empty second text for none).
 * @throws ServingError INPUT_TOO_LONG as `prepareTexts`
 */
export async function preparePairs(
  tokenizer: TextTokenizer,
  texts: { query: string; documents: readonly string[] },
  options: PrepareOptions,
): Promise<EncodedText[]> {
  const [query, ...documents] = await tokenizer.idsOf([texts.query, ...texts.documents], options.signal);
  return documents.map((document, index) => {
    const isEmpty = texts.documents[index] === '';
    const { maxTokens } = options;
    const encoded = isEmpty
      ? tokenizer.wrap(query!, maxTokens)
      : tokenizer.wrapPair(query!, document, maxTokens);
    return checkLength(encoded, index, options);
  });
}

/** The states of the query's own tokens, without those of the special tokens around them. [tokens, dimension] */
export function queryStates(
  states: Float32Array,
  specials: { before: number; after: number },
  dimension: number,
) {
  return states.slice(specials.before * dimension, states.length - specials.after * dimension);
}

/** A raw score as one in [0, 1] that keeps the order: cosines are shifted, logits go through the logistic function. */
export function toUnitScore(kind: ScoreKind, rawScore: number): number {
  if (kind === 'cross_encoder') return 1 / (1 + Math.exp(-rawScore));
  return Math.min(1, Math.max(0, (rawScore + 1) / 2));
}
