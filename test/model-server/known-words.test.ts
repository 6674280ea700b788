import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bertPipelineOf } from '../../model-server/tasks/bert-pipeline.ts';
import { type Encode, knownWords } from '../../model-server/tasks/known-words.ts';
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
const shipped: TokenizerJson = readShipped('tokenizer.json');
const config: object = readShipped('tokenizer_config.json');

const added = (content: string, override: object = {}) => ({
  content,
  special: true,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  id: shipped.model.vocab[content] ?? 30_522 + content.length,
  ...override,
});
const withParts = (parts: Partial<Record<keyof TokenizerJson, unknown>>) => ({ ...shipped, ...parts });
const normalizer = (override: object) => ({ normalizer: { ...shipped.normalizer, ...override } });

const encodeOf = (tokenizer: object): Encode => {
  const library = new Tokenizer(tokenizer, config);
  return (text) => library.encode(text, { add_special_tokens: false }).ids;
};
const pipelineOf = (tokenizer: object) => {
  const pipeline = bertPipelineOf(tokenizer, config);
  if (pipeline === undefined) throw new Error('this tokenizer should be taken for one of words');
  return pipeline;
};

/** What has borders, changes with its company, is dropped, or is (or looks like) a token of its own. */
const TRICKY = [
  ...[
    'a',
    'ΑΣ',
    'Σ',
    "ΑΣ'Α",
    'ΟΔΟΣ.',
    'İstanbul',
    'I\u0307',
    'naïve',
    'nai\u0308ve',
    '\u0308',
    'Ångström',
    'ﬁ',
    'ß',
  ],
  ...[
    '日本語',
    '漢',
    '豈',
    '𠀀𠀁',
    '\u3400',
    '\u9fff',
    'ひらがな',
    '한국어',
    '한',
    '🙂',
    '👩‍👩‍👧',
    '🇩🇪',
    '❤️',
  ],
  ...[
    '\u0000',
    '\u0001',
    '\u0007',
    '\u000b',
    '\u000c',
    '\u001c',
    '\u0085',
    '\u200b',
    '\u200d',
    '\ufeff',
    '\ufffd',
  ],
  ...[
    '\u00ad',
    '\ue000',
    '\u0378',
    '\ud800',
    '\udc00',
    '\ud83d',
    '\u2028',
    '\u2029',
    '\u00a0',
    '\u3000',
    '\u1680',
  ],
  ...['don’t', "can't", 'e.g.', '$1,000.50', 'C++', '#!', '`', '^', '¡', '…', '-', '_', 'x'.repeat(33)],
  ...[
    'x'.repeat(101),
    'é'.repeat(60),
    '🙂'.repeat(101),
    'unbelievably',
    'antidisestablishmentarianism',
    '##ing',
  ],
  ...[
    '[CLS]',
    '[SEP]',
    '[PAD]',
    '[UNK]',
    '[MASK]',
    '[cls]',
    '[UNK\u0000]',
    '[U\ufffdNK]',
    '[Pad]',
    '[MÁSK]',
    '[M\u0301ASK]',
  ],
  ...[
    '[',
    ']',
    '[C',
    'LS]',
    '[CLS',
    '<s>',
    '<S>',
    '<ś>',
    '<\u200bs>',
    '</s>',
    '<mask>',
    '<MASK>',
    'Foo',
    'foo',
    'FOO',
  ],
];
const BORDERS = ['', ' ', '  ', '\t', '\n', '\r\n', '\u00a0', '\u3000', '\u2028', '\u000b', '\ufeff'];

const part = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(...TRICKY) },
  { weight: 3, arbitrary: fc.constantFrom(...BORDERS) },
  { weight: 2, arbitrary: fc.constantFrom(...Object.keys(shipped.model.vocab)) },
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  // Lone halves of surrogate pairs too.
  fc
    .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 6 })
    .map((units) => String.fromCharCode(...units)),
);
const text = fc.array(part, { maxLength: 14 }).map((parts) => parts.join(''));

describe('ids from remembered words are those of the library', () => {
  const bracketed = [added('<s>'), added('</s>'), added('<mask>', { lstrip: true }), added('[UNK]')];
  const variants: [string, object][] = [
    ['as shipped', shipped],
    ['that tells case apart', withParts(normalizer({ lowercase: false }))],
    ['that drops accents but not case', withParts(normalizer({ lowercase: false, strip_accents: true }))],
    ['that keeps accents', withParts(normalizer({ strip_accents: false }))],
    ['that keeps control characters', withParts(normalizer({ clean_text: false }))],
    ['with tokens in angle brackets, as MPNet', withParts({ added_tokens: bracketed })],
    [
      'with tokens that are sought after normalising',
      withParts({ added_tokens: [added('[UNK]'), added('Foo', { normalized: true, rstrip: true })] }),
    ],
    [
      'that tells case apart, with [unused] tokens',
      withParts({
        ...normalizer({ lowercase: false }),
        added_tokens: [added('[UNK]'), added('[unused1]'), added('##ing')],
      }),
    ],
  ];

  it.each(variants)('for a tokenizer %s', (_, tokenizer) => {
    const encode = encodeOf(tokenizer);
    const known = knownWords(encode, pipelineOf(tokenizer));
    // Small texts first: the later ones meet words that were learnt in other company.
    for (const tricky of TRICKY) expect(known(tricky), JSON.stringify(tricky)).toEqual(encode(tricky));
    fc.assert(
      fc.property(text, (any) => {
        const whole = encode(any);
        expect(known(any)).toEqual(whole);
        expect(known(any)).toEqual(whole);
      }),
      { numRuns: 400 },
    );
  });
});

describe('remembered words', () => {
  const { addedTokens } = pipelineOf(shipped);
  /** Also tells which texts the library was asked for. */
  const watched = () => {
    const asked: string[] = [];
    const encode = encodeOf(shipped);
    const known = knownWords(
      (any) => {
        asked.push(any);
        return encode(any);
      },
      { addedTokens },
    );
    return { known, asked };
  };

  it('are asked for once, whatever their company', () => {
    const { known, asked } = watched();
    known('which ports\tare\nused?');
    known('used? ports are which');
    expect(asked).toEqual(['which', 'ports', 'are', 'used?']);
  });

  it('are the ideographs one by one', () => {
    const { known, asked } = watched();
    known('日本日x');
    known('本日');
    expect(asked).toEqual(['日', '本', 'x']);
  });

  it('are not those that are too long, nor those that look like an added token', () => {
    const { known, asked } = watched();
    const long = 'x'.repeat(33);
    known(long);
    known(long);
    expect(asked.splice(0)).toEqual([long, long]);
    for (const text of ['a [CLS] b', 'a [CLS] b', '[c\u0000ls]']) known(text);
    expect(asked).toEqual(['a', 'a [CLS] b', 'a [CLS] b', '[c\u0000ls]']);
  });

  it('are forgotten when there are too many, the longest unused first', () => {
    const { known, asked } = watched();
    known('first');
    known('second');
    for (let index = 0; index < 32_767; index++) {
      known(`w${index}`);
      if (index === 100) known('first');
    }
    asked.length = 0;
    known('first second');
    expect(asked).toEqual(['second']);
  });

  it('are handed out in arrays that callers may change', () => {
    const { known } = watched();
    const ids = known('ports');
    const before = [...ids];
    ids.push(1);
    expect(known('ports')).toEqual(before);
    known('one two').length = 0;
    expect(known('one two')).toHaveLength(2);
  });
});

describe('a tokenizer is taken for one of words', () => {
  it('when it is that of BERT, also one that does not name its model', () => {
    expect(pipelineOf(shipped).addedTokens).toEqual(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']);
    const { type, ...model } = shipped.model as { type?: string; vocab: Record<string, number> };
    expect(type).toBe('WordPiece');
    expect(bertPipelineOf({ ...shipped, model }, config)).toBeDefined();
  });

  const others: [string, object, object?][] = [
    ['it does not normalise', withParts({ normalizer: null })],
    ['its normaliser is another', withParts({ normalizer: { type: 'Lowercase' } })],
    ['ideographs are no words to it', withParts(normalizer({ handle_chinese_chars: false }))],
    ['it cuts in another way', withParts({ pre_tokenizer: { type: 'ByteLevel' } })],
    ['its model is another', withParts({ model: { type: 'Unigram', vocab: [] } })],
    ['it merges', withParts({ model: { ...shipped.model, type: undefined, merges: [] } })],
    ['it joins unknown words', withParts({ model: { ...shipped.model, fuse_unk: true } })],
    ['it changes tokens afterwards', withParts({ post_processor: { type: 'Sequence', processors: [] } })],
    ['an added token holds a space', withParts({ added_tokens: [added('a b')] })],
    ['an added token holds an ideograph', withParts({ added_tokens: [added('漢')] })],
    ['its settings change white space', shipped, { ...config, remove_space: true }],
    ['its settings drop marks', shipped, { ...config, do_lowercase_and_remove_accent: true }],
  ];
  it.each(others)('but not when %s', (_, tokenizer, settings = config) => {
    expect(bertPipelineOf(tokenizer, settings)).toBeUndefined();
  });
});
