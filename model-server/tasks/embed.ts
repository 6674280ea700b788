import { ServingError } from '../errors.ts';
import type { EncodedText, TextTokenizer } from './tokenizer.ts';

/** What happens to a text that is longer than the model takes. */
export type Truncate = 'end' | 'error';

export interface PrepareOptions {
  /** Model and version, for messages. */
  owner: string;
  maxTokens: number;
  truncate: Truncate;
  signal?: AbortSignal | undefined;
}

/**
 * Texts as token rows. An empty text is allowed: its row is the special tokens alone.
 * @throws ServingError INPUT_TOO_LONG when `truncate` is 'error' and a text does not fit
 */
export async function prepareTexts(
  tokenizer: TextTokenizer,
  texts: readonly string[],
  options: PrepareOptions,
): Promise<EncodedText[]> {
  const ids = await tokenizer.idsOf(texts, options.signal);
  return ids.map((textIds, index) => checkLength(tokenizer.wrap(textIds, options.maxTokens), index, options));
}

/** @throws ServingError INPUT_TOO_LONG when it was truncated and must not be */
export function checkLength<Text extends Pick<EncodedText, 'tokens' | 'truncated'>>(
  encoded: Text,
  index: number,
  options: PrepareOptions,
): Text {
  if (encoded.truncated && options.truncate === 'error') {
    throw new ServingError(
      'INPUT_TOO_LONG',
      `${options.owner}: input ${index} has ${encoded.tokens} tokens, the limit is ${options.maxTokens}. Shorten it, or ask for truncation.`,
    );
  }
  return encoded;
}
