import fc from 'fast-check';
import { expect, test } from 'vitest';
import { contentWords, coverage, sentencesOf } from '../../orchestrator/answer/sentence.ts';

const texts = (text: string) => sentencesOf(text).map((sentence) => sentence.text);

test('sentences of running text', () => {
  expect(texts('One is here. Two follows!  Is three last?')).toEqual([
    'One is here.',
    'Two follows!',
    'Is three last?',
  ]);
});

test('lines that were wrapped by a PDF are one sentence', () => {
  const text =
    'The boundary layer on a flat plate grows with the\nsquare root of the distance from\nits edge. Next.';
  expect(texts(text)).toEqual([text.slice(0, -6), 'Next.']);
});

test('headings, list items and paragraphs are not glued to what follows', () => {
  expect(texts('Results\nThe model is small.\n\n- first item\n- second item\n1. third')).toEqual([
    'Results',
    'The model is small.',
    '- first item',
    '- second item',
    '1. third',
  ]);
});

test('text without capitals is cut at its stops when it is long', () => {
  const clause = 'the flow over a wing in a slipstream was measured at several angles of attack ';
  const text = `${`${clause}. `.repeat(8)}`;
  expect(sentencesOf(text)).toHaveLength(8);
});

test('offsets are those of the text, whatever it is', () => {
  fc.assert(
    fc.property(
      fc.string({
        unit: fc.constantFrom('a', 'B', '. ', '\n', '\r\n', ' ', '- ', 'é', '😀', 'word '),
        maxLength: 200,
      }),
      (text) => {
        let last = 0;
        for (const { start, end, text: sentence } of sentencesOf(text)) {
          expect(text.slice(start, end)).toBe(sentence);
          expect(sentence).toBe(sentence.trim());
          expect(start).toBeGreaterThanOrEqual(last);
          last = end;
        }
        expect(
          sentencesOf(text)
            .map((sentence) => sentence.text)
            .join('')
            .replaceAll(/\s/g, ''),
        ).toBe(text.replaceAll(/\s/g, ''));
      },
    ),
  );
});

test('content words leave function words out and join common endings', () => {
  expect(contentWords('What was the heating of the wings?')).toEqual(contentWords('heated wing'));
  expect(coverage(contentWords('alpha beta'), contentWords('beta gamma'))).toBe(0.5);
  expect(coverage(new Set(), contentWords('beta'))).toBe(0);
});
