import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { knownWords } from '../../model-server/tasks/known-words.ts';
import {
  added,
  encodeOf,
  normalizer,
  pipelineOf,
  shipped,
  withParts,
  xlmRoberta,
} from './tokenizer-files.ts';

/** What has borders, changes with its company, is dropped, or is (or looks like) a token of its own. */
const TRICKY = [
  `a ΑΣ Σ ΑΣ'Α ΟΔΟΣ. İstanbul I\u0307 naïve nai\u0308ve \u0308 Ångström ﬁ ß 日本語 漢 豈 𠀀𠀁 \u3400 \u9fff`,
  `ひらがな 한국어 한 🙂 👩‍👩‍👧 🇩🇪 ❤️ \u0000 \u0001 \u0007 \u000b \u000c \u001c \u0085 \u200b \u200d \ufeff`,
  `\ufffd \u00ad \ue000 \u0378 \ud800 \udc00 \ud83d \u2028 \u2029 \u00a0 \u3000 \u1680 unbelievably`,
  `antidisestablishmentarianism ##ing [CLS] [SEP] [PAD] [UNK] [MASK] [cls] [UNK\u0000] [U\ufffdNK]`,
  `[Pad] [MÁSK] [M\u0301ASK] [ ] [C LS] [CLS <s> <S> <ś> <\u200bs> </s> <mask> <MASK> Foo foo FOO ▁`,
  `don’t can't e.g. $1,000.50 C++ #! \` ^ ¡ … - _ ▁the the▁ ＜s＞ <ˢ> <ᴬ> ～ ¨ ﷺ Ⅷ`,
].flatMap((line) => line.split(' '));
TRICKY.push('x'.repeat(33), 'x'.repeat(101), 'é'.repeat(60), '🙂'.repeat(101));
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
    ['of pieces after white space, as XLM-RoBERTa', xlmRoberta()],
    [
      'of pieces, with tokens that are sought after normalising',
      xlmRoberta({ added_tokens: [added('<unk>', { id: 3 }), added('<A>', { id: 9, normalized: true })] }),
    ],
  ];

  it.each(variants)('for a tokenizer %s', (_, tokenizer) => {
    const encode = encodeOf(tokenizer);
    const known = knownWords(encode, pipelineOf(tokenizer));
    // Alone first: in company it is met as a word that was learnt alone.
    for (const company of [(tricky: string) => tricky, (tricky: string) => `a ${tricky} b`]) {
      for (const tricky of TRICKY.map(company))
        expect(known(tricky), JSON.stringify(tricky)).toEqual(encode(tricky));
    }
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
