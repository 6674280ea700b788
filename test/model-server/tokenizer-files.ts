import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import type { Encode } from '../../model-server/tasks/known-words.ts';
import { wordPipelineOf } from '../../model-server/tasks/word-pipeline.ts';
import { shippedRepository } from './repository.ts';

interface TokenizerJson {
  normalizer: object;
  pre_tokenizer: object;
  post_processor: object;
  decoder: object;
  model: { vocab: Record<string, number> };
  added_tokens: object[];
}
const readShipped = (name: string) =>
  JSON.parse(readFileSync(join(shippedRepository, 'all-minilm-l6-v2', name), 'utf8'));
/** tokenizer.json of the shipped model. */
export const shipped: TokenizerJson = readShipped('tokenizer.json');
/** Its tokenizer_config.json. */
export const config: object = readShipped('tokenizer_config.json');

/** An added token. */
export const added = (content: string, override: object = {}) => ({
  content,
  special: true,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  id: shipped.model.vocab[content] ?? 30_522 + content.length,
  ...override,
});
/** The shipped tokenizer with other parts. */
export const withParts = (parts: Partial<Record<keyof TokenizerJson, unknown>>) => ({ ...shipped, ...parts });
/** Its normaliser with other settings, as a part. */
export const normalizer = (override: object) => ({ normalizer: { ...shipped.normalizer, ...override } });

/** Pieces of half of the words of the other tokenizer, so that the other half is put together from letters or unknown. */
const pieces = Object.keys(shipped.model.vocab)
  .filter((word, index) => index % 2 === 0 && /^[a-z]{1,8}$/.test(word))
  .map((word) => `▁${word}`);
/** A tokenizer as that of XLM-RoBERTa, with a small vocabulary. */
export const xlmRoberta = (override: object = {}) => ({
  ...shipped,
  normalizer: { type: 'Precompiled', precompiled_charsmap: '' },
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [
      { type: 'WhitespaceSplit' },
      { type: 'Metaspace', replacement: '▁', add_prefix_space: true, prepend_scheme: 'always' },
    ],
  },
  model: {
    type: 'Unigram',
    unk_id: 3,
    vocab: [
      '<s>',
      '<pad>',
      '</s>',
      '<unk>',
      '▁',
      ...'abcdefghijklmnopqrstuv.,日é',
      'ing',
      '▁naï',
      ...pieces,
    ].map((piece, index) => [piece, -1 - (index % 17)]),
  },
  added_tokens: ['<s>', '<pad>', '</s>', '<unk>', '<mask>'].map((content, id) =>
    added(content, { id, lstrip: content === '<mask>' }),
  ),
  ...override,
});

/** The library alone. */
export const encodeOf = (tokenizer: object): Encode => {
  const library = new Tokenizer(tokenizer, config);
  return (text) => library.encode(text, { add_special_tokens: false }).ids;
};
/** @throws Error when the tokenizer is not taken for one of words */
export const pipelineOf = (tokenizer: object) => {
  const pipeline = wordPipelineOf(tokenizer, config);
  if (pipeline === undefined) throw new Error('this tokenizer should be taken for one of words');
  return pipeline;
};
