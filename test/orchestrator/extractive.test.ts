import { expect, test } from 'vitest';
import type { AnswerSource } from '../../orchestrator/answer/event.ts';
import { extract } from '../../orchestrator/answer/extractive.ts';
import { numbered } from '../../orchestrator/answer/prompt.ts';
import { RagError } from '../../orchestrator/errors.ts';
import type { Embedder } from '../../orchestrator/ports.ts';

/** Directions of meaning: the vector of a text points to the topics whose words it has. */
const topics = ['height', 'tea', 'river', 'cost', 'won'];

const embedder = {
  embed: async (texts: readonly string[]) => ({
    vectors: texts.map((text) => {
      const vector = Float32Array.from(topics, (topic) => (text.toLowerCase().includes(topic) ? 1 : 0));
      const length = Math.hypot(...vector) || 1;
      return vector.map((value) => value / length);
    }),
  }),
} as unknown as Embedder;

const sourcesOf = (...texts: string[]): AnswerSource[] =>
  numbered(
    texts.map((text, index) => ({
      document_id: `d${index}`,
      chunk_id: `d${index}:r:0`,
      title: '',
      text,
      score: 1 - index / 10,
      page: index + 1,
      offsets: { start: 500, end: 500 + text.length },
    })),
  );

const ask = (query: string, ...texts: string[]) => extract({ query, sources: sourcesOf(...texts) }, embedder);

test('the fitting sentence is the answer, word for word, with its place', async () => {
  const { sentences, degraded } = await ask(
    'What is the height of the mountain?',
    'Rivers begin in this place. The height of this mountain is 4,806 metres. People drink tea there.',
  );
  expect(sentences).toEqual([
    {
      text: 'The height of this mountain is 4,806 metres. [1]',
      citation: expect.objectContaining({
        number: 1,
        page: 1,
        quote: 'The height of this mountain is 4,806 metres.',
        quote_offsets: { start: 528, end: 572 },
      }),
    },
  ]);
  expect(degraded).toEqual([]);
});

test('sentences of several sources are cited by their numbers, the better first', async () => {
  const { sentences } = await ask(
    'How much does the tea cost?',
    'There is a long river near the old town.',
    'Tea is sold at the market. The cost of tea is three coins a cup.',
  );
  expect(sentences[0]?.text).toBe('The cost of tea is three coins a cup. [2]');
  expect(sentences.every(({ citation }) => citation.number === 2)).toBe(true);
});

test('what says the same is said once', async () => {
  const { sentences } = await ask(
    'What is the height of the mountain?',
    'The height of the mountain is 4,806 metres.',
    'The mountain has a height of 4,806 metres.',
    'The height of the mountain is 4,806 metres.',
  );
  expect(sentences).toHaveLength(1);
});

test('a hard-wrapped sentence reads as one line, its quote is the text as it is', async () => {
  const text =
    'The height of this mountain was measured again last year and is now known\nto be 4,806 metres.';
  const { sentences } = await ask('What is the height of the mountain?', text);
  expect(sentences[0]?.text).toBe(`${text.replace('\n', ' ')} [1]`);
  expect(sentences[0]?.citation.quote).toBe(text);
});

test('when nothing speaks about the question, nothing is said', async () => {
  expect((await ask('Who won the cup?', 'There is a long river near the old town.')).sentences).toEqual([]);
  expect((await ask('Who won the cup?', '', '   ', 'Short.')).sentences).toEqual([]);
  expect((await ask('Who won the cup?')).sentences).toEqual([]);
});

test('without a model the words of the question decide, and that is told', async () => {
  const broken = {
    embed: async () => Promise.reject(new RagError('MODEL_SERVER_UNAVAILABLE', 'away')),
  } as unknown as Embedder;
  const sources = sourcesOf('A river is near the town. Error E1234 means that the pump has stopped.');
  const { sentences, degraded } = await extract({ query: 'What does error E1234 mean?', sources }, broken);
  expect(sentences.map(({ text }) => text)).toEqual(['Error E1234 means that the pump has stopped. [1]']);
  expect(degraded).toEqual([{ source: 'sentences', reason: 'MODEL_SERVER_UNAVAILABLE', message: 'away' }]);
  expect((await extract({ query: 'Who won the cup?', sources }, broken)).sentences).toEqual([]);
});

test('the work is bounded, however long the sources are', async () => {
  const sizes: number[] = [];
  const counting = {
    embed: (texts: readonly string[]) => {
      sizes.push(texts.length);
      return embedder.embed(texts);
    },
  } as unknown as Embedder;
  const long = Array.from({ length: 400 }, (_, index) => `The height of peak number ${index} is known.`).join(
    ' ',
  );
  const { sentences } = await extract({ query: 'What height?', sources: sourcesOf(long, long) }, counting);
  expect(sizes).toEqual([97]);
  expect(sentences.length).toBeLessThanOrEqual(4);
});

test('a Markdown heading is no answer, however well it fits', async () => {
  const { sentences } = await ask(
    'What is the height of the mountain?',
    '## What is the height of the mountain\n\nThe height of this mountain is 4,806 metres.',
  );
  expect(sentences.map(({ text }) => text)).toEqual(['The height of this mountain is 4,806 metres. [1]']);
});
