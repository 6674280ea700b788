import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CitationReader } from '../../orchestrator/answer/citations.ts';
import type { AnswerSource } from '../../orchestrator/answer/event.ts';

const sources: AnswerSource[] = [
  {
    number: 1,
    document_id: 'alps',
    chunk_id: 'alps:r1:4',
    title: 'The Alps',
    text: 'The Alps lie in Europe. Mont Blanc is 4,806 metres high. Many rivers begin there.',
    score: 0.9,
    page: 7,
    offsets: { start: 1_000, end: 1_081 },
  },
  {
    number: 2,
    document_id: 'tea',
    chunk_id: 'tea:r1:0',
    title: '',
    text: 'Tea is drunk hot.',
    score: 0.5,
    offsets: { start: 0, end: 17 },
  },
];

function read(...pieces: string[]) {
  const reader = new CitationReader(sources);
  const out = [...pieces.map((piece) => reader.push(piece)), reader.end()];
  return {
    text: out.map(({ text }) => text).join(''),
    citations: out.flatMap(({ citations }) => citations),
    reader,
  };
}

const numbers = (...pieces: string[]) => read(...pieces).citations.map(({ number }) => number);

test('a citation leads to the place, the page and the sentence that supports the statement', () => {
  const { citations, text } = read('Mont Blanc has a height of 4,806 metres [1].');
  expect(text).toBe('Mont Blanc has a height of 4,806 metres [1].');
  expect(citations).toEqual([
    {
      number: 1,
      document_id: 'alps',
      chunk_id: 'alps:r1:4',
      title: 'The Alps',
      page: 7,
      offsets: { start: 1_000, end: 1_081 },
      quote: 'Mont Blanc is 4,806 metres high.',
      quote_offsets: { start: 1_024, end: 1_056 },
    },
  ]);
});

test.each([
  ['A [1]. B [2].', 'A [1]. B [2].', [1, 2]],
  ['A [1, 2].', 'A [1][2].', [1, 2]],
  ['A [1][2].', 'A [1][2].', [1, 2]],
  ['A [1; 2].', 'A [1][2].', [1, 2]],
  ['A [1-2].', 'A [1][2].', [1, 2]],
  ['A [1–2].', 'A [1][2].', [1, 2]],
  ['A [ 2 ].', 'A [2].', [2]],
  ['A [Source 2].', 'A [2].', [2]],
  ['A [sources 1, 2].', 'A [1][2].', [1, 2]],
  ['A[1]', 'A[1]', [1]],
])('%s', (given, shown, cited) => {
  expect(read(given).text).toBe(shown);
  expect(numbers(given)).toEqual(cited);
});

test.each([
  ['Nobody said so [3].', 'Nobody said so.', [3]],
  ['Half true [1, 9].', 'Half true [1].', [9]],
  ['Both [0][3] wrong.', 'Both wrong.', [0, 3]],
  ['A[1][3]', 'A[1]', [3]],
  ['A.[3]', 'A.', [3]],
])('a number that was not sent is taken out and reported: %s', (given, shown, removed) => {
  const { text, reader } = read(given);
  expect(text).toBe(shown);
  expect([...reader.removed]).toEqual(removed);
});

test.each([
  'see [here](http://x)',
  'a list [a, b]',
  'open [',
  'open [1',
  '[source code] is text',
  '[]',
  `[${'1,'.repeat(60)}`,
  'In [2024] it was, and in 2019 [2019-2021].',
  'far [1-999]',
  'items[0] and row[3][0] and f(x)[1, 7]',
  'huge [9007199254740992-9007199254740994]',
  'huge [12345',
])('other brackets stay as they are: %s', (given) => {
  const { text, citations, reader } = read(given);
  expect(text).toBe(given);
  expect(citations).toEqual([]);
  expect([...reader.removed]).toEqual([]);
});

test('a source is cited once for each sentence of it that is used', () => {
  const { citations } = read(
    'Mont Blanc is 4,806 metres high [1]. It lies in Europe, in the Alps [1]. Mont Blanc is high [1].',
  );
  expect(citations.map(({ quote }) => quote)).toEqual([
    'Mont Blanc is 4,806 metres high.',
    'The Alps lie in Europe.',
  ]);
});

test('a marker behind the full stop belongs to the sentence before it', () => {
  expect(read('The Alps lie in Europe. Rivers begin there. [1] Next.').citations[0]?.quote).toBe(
    'Many rivers begin there.',
  );
});

test('text flows on while no marker is open, and is held back while one may be', () => {
  const reader = new CitationReader(sources);
  expect(reader.push('The Alps').text).toBe('The Alps');
  expect(reader.push(' [').text).toBe('');
  expect(reader.push('1').text).toBe('');
  expect(reader.push('] and').text).toBe(' [1] and');
  expect(reader.push(' [no').text).toBe(' [no');
  expect(reader.end().text).toBe('');
});

test('however the answer is cut into pieces, the result is the same', () => {
  const answer =
    'The Alps lie in Europe [1, 9]. Tea [2][7] is hot [source 2]; see [x] and [3], items[0][7], [2019], [123456] \n\n  [1-2] end [';
  const whole = read(answer);
  fc.assert(
    fc.property(fc.array(fc.nat({ max: answer.length }), { maxLength: 30 }), (cuts) => {
      const places = [0, ...cuts.toSorted((a, b) => a - b), answer.length];
      const pieces = places.slice(1).map((end, index) => answer.slice(places[index], end));
      const cut = read(...pieces);
      expect(cut.text).toBe(whole.text);
      expect(cut.reader.text).toBe(whole.text);
      expect(cut.citations).toEqual(whole.citations);
      expect([...cut.reader.removed]).toEqual([...whole.reader.removed]);
    }),
  );
});

test('no text makes a citation that was not sent, and the quote is always in the source', () => {
  const pieces = fc.array(fc.oneof(fc.string(), fc.constantFrom('[1]', '[', ']', '[2,', '3]', ' ', 'Alps.')));
  fc.assert(
    fc.property(pieces, (given) => {
      const { citations, text, reader } = read(...given);
      expect(reader.text).toBe(text);
      for (const { number, quote, quote_offsets, offsets } of citations) {
        const source = sources.find((candidate) => candidate.number === number);
        expect(
          source?.text.slice(quote_offsets.start - offsets.start, quote_offsets.end - offsets.start),
        ).toBe(quote);
      }
    }),
  );
});

const onTwoPages =
  'Mont Blanc lies in the Alps. Lakes of the Alps are deep\nand cold. Many rivers begin there.';

test.each([
  ['before the border', 'Mont Blanc lies in the Alps. [1]', { page: 7 }],
  ['across the border', 'Lakes are deep and cold. [1]', { page: 7, page_end: 8 }],
  ['after the border', 'Many rivers begin there. [1]', { page: 8 }],
])('a quote %s of a chunk on two pages has its own page', (_, statement, expected) => {
  const border = onTwoPages.indexOf('and cold');
  const source: AnswerSource = {
    ...sources[0]!,
    text: onTwoPages,
    page_end: 8,
    page_end_offset: 500 + border,
    offsets: { start: 500, end: 500 + onTwoPages.length },
  };
  const reader = new CitationReader([source]);
  const [citation] = [...reader.push(statement).citations, ...reader.end().citations];
  const { page, page_end } = citation!;
  expect({ page, page_end }).toEqual({ page_end: undefined, ...expected });
});
