import { afterEach, beforeEach, expect, test } from 'vitest';
import { openLlm } from '../../orchestrator/adapters/llm-openai.ts';
import type { AnswerDeps, AnswerEvent } from '../../orchestrator/answer/answer.ts';
import { answer, answerOnce } from '../../orchestrator/answer/answer.ts';
import { RagError } from '../../orchestrator/errors.ts';
import type { Embedder, Llm } from '../../orchestrator/ports.ts';
import type { StubLlm, StubReply } from './stub-llm.ts';
import { says, startStubLlm } from './stub-llm.ts';

const notFound = 'The documents do not answer this question.';
const text = 'Mont Blanc is 4,806 metres high. Many rivers begin there.';
const hits = [
  {
    document_id: 'alps',
    chunk_id: 'alps:r:0',
    title: 'Alps',
    text,
    score: 0.9,
    page: 2,
    offsets: { start: 10, end: 67 },
  },
  {
    document_id: 'tea',
    chunk_id: 'tea:r:0',
    title: '',
    text: 'Tea is best when it is drunk hot.',
    score: 0.4,
    offsets: { start: 0, end: 33 },
  },
];
const request = { query: 'How high is Mont Blanc?', collection: 'default' };

let stub: StubLlm;
let deps: AnswerDeps;

beforeEach(async () => {
  stub = await startStubLlm();
  deps = {
    search: async () => ({ hits, degraded: [], timings: { total_ms: 3 } }),
    // A text means "Mont Blanc" or something else.
    embedder: {
      countTokens: async (texts) => texts.map((each) => each.split(' ').length),
      embed: async (texts) => ({
        vectors: texts.map((each) => new Float32Array(each.includes('Mont Blanc') ? [1, 0] : [0, 1])),
      }),
    } as Embedder,
    contextTokens: 2_000,
    answerTokens: 100,
  };
});

afterEach(() => stub.close());

async function eventsOf(...replies: StubReply[]): Promise<AnswerEvent[]> {
  if (replies.length > 0) {
    stub.reply(...replies);
    deps.llm = openLlm({ baseUrl: stub.baseUrl, model: 'stub-1', retryDelayMs: 1 });
  }
  const events: AnswerEvent[] = [];
  for await (const event of answer(deps, request)) events.push(event);
  return events;
}

const typesOf = (events: AnswerEvent[]) => events.map(({ type }) => type);
const deltas = (events: AnswerEvent[]) =>
  events.map((event) => (event.type === 'delta' ? event.text : '')).join('');

test('a chat model: sources, then text and citations as they come, then the whole', async () => {
  const events = await eventsOf(says('Mont Blanc is 4,8', '06 metres high [', '1].', ' It is warm [7].'));
  expect(typesOf(events)).toEqual(['sources', 'delta', 'delta', 'delta', 'citation', 'delta', 'done']);
  const done = events.at(-1);
  expect(done).toMatchObject({
    type: 'done',
    answer: 'Mont Blanc is 4,806 metres high [1]. It is warm.',
    mode: 'llm',
    model: 'stub-1',
    found: true,
    removed_citations: [7],
    truncated: false,
    usage: { prompt_tokens: 12, completion_tokens: 4 },
    citations: [
      {
        number: 1,
        document_id: 'alps',
        page: 2,
        quote: 'Mont Blanc is 4,806 metres high.',
        quote_offsets: { start: 10, end: 42 },
      },
    ],
    sources: [
      { number: 1, document_id: 'alps' },
      { number: 2, document_id: 'tea' },
    ],
  });
  expect(deltas(events)).toBe(done?.type === 'done' ? done.answer : undefined);
  expect(Object.keys(done?.type === 'done' ? done.timings : {})).toEqual([
    'search',
    'search_ms',
    'prompt_ms',
    'first_token_ms',
    'generate_ms',
    'total_ms',
  ]);
});

test('the chat model gets the sources and the question, and no more tokens than allowed', async () => {
  await eventsOf(says('Yes [1].'));
  const [sent] = stub.requests;
  expect(sent?.body).toMatchObject({ max_tokens: 100, temperature: 0 });
  expect(JSON.stringify(sent?.body.messages)).toContain('4,806 metres');
  expect(JSON.stringify(sent?.body.messages)).toContain(request.query);
});

test('no chat model: sentences of the sources, flagged as that', async () => {
  const events = await eventsOf();
  expect(typesOf(events)).toEqual(['sources', 'delta', 'citation', 'done']);
  expect(events.at(-1)).toMatchObject({
    answer: 'Mont Blanc is 4,806 metres high. [1]',
    mode: 'extractive',
    found: true,
    citations: [{ number: 1, page: 2, quote: 'Mont Blanc is 4,806 metres high.' }],
  });
  expect(deltas(events)).toBe('Mont Blanc is 4,806 metres high. [1]');
});

test('no hits: it says so, cites nothing, and asks no chat model', async () => {
  deps.search = async () => ({ hits: [], degraded: [], timings: {} });
  for (const events of [await eventsOf(), await eventsOf(says('made up [1]'))]) {
    expect(events.at(-1)).toMatchObject({ answer: notFound, found: false, citations: [], sources: [] });
    expect(deltas(events)).toBe(notFound);
  }
  expect(stub.requests).toHaveLength(0);
});

test('hits that do not answer: both modes say so without a citation', async () => {
  expect((await eventsOf(says(notFound))).at(-1)).toMatchObject({ mode: 'llm', found: false, citations: [] });
  deps.llm = undefined;
  deps.search = async () => ({ hits: hits.slice(1), degraded: [], timings: {} });
  expect((await eventsOf()).at(-1)).toMatchObject({
    mode: 'extractive',
    answer: notFound,
    found: false,
    citations: [],
  });
});

test('a chat model that is away before its first word is replaced, and that is told', async () => {
  const events = await eventsOf((response) => response.json(503, '{}'));
  expect(typesOf(events)).toEqual(['sources', 'delta', 'citation', 'done']);
  expect(events.at(-1)).toMatchObject({
    mode: 'extractive',
    found: true,
    degraded: [{ source: 'llm', reason: 'LLM_UNAVAILABLE' }],
  });
});

test('a wrong key is an error, not an answer of another kind', async () => {
  const events = await eventsOf((response) => response.json(401, '{}'));
  expect(events.at(-1)).toMatchObject({ type: 'error', reason: 'LLM_REFUSED', retryable: false });
});

test('an answer that is cut ends with an error that says so', async () => {
  const events = await eventsOf((response) => {
    response.head();
    response.delta('Mont Blanc is');
    response.raw.end();
  });
  expect(typesOf(events)).toEqual(['sources', 'delta', 'error']);
  expect(events.at(-1)).toMatchObject({
    reason: 'LLM_UNAVAILABLE',
    message: expect.stringContaining('incomplete'),
  });
});

test('an empty answer is an error', async () => {
  expect((await eventsOf(says(''))).at(-1)).toMatchObject({ type: 'error', reason: 'LLM_REFUSED' });
});

test('an answer at its token limit is flagged', async () => {
  const events = await eventsOf((response) => {
    response.head();
    response.delta('Mont Blanc');
    response.finish('length');
  });
  expect(events.at(-1)).toMatchObject({ type: 'done', truncated: true });
});

test('what degraded the search is told with the answer', async () => {
  const degraded = [{ source: 'rerank', reason: 'QUEUE_FULL', message: 'busy' }] as const;
  deps.search = async () => ({ hits, degraded, timings: {} });
  const events = await eventsOf();
  expect(events[0]).toMatchObject({ degraded });
  expect(events.at(-1)).toMatchObject({ degraded });
});

test('a search that fails is thrown before any event', async () => {
  deps.search = async () => Promise.reject(new RagError('NOT_FOUND', 'no such collection'));
  await expect(eventsOf()).rejects.toMatchObject({ reason: 'NOT_FOUND' });
});

test('the search is asked for 8 passages when nothing else is wanted', async () => {
  const asked: unknown[] = [];
  deps.search = async (searched) => {
    asked.push(searched);
    return { hits, degraded: [], timings: {} };
  };
  await eventsOf();
  await answerOnce(deps, { ...request, top_k: 3, mode: 'dense', rerank: false });
  expect(asked).toEqual([
    { ...request, top_k: 8 },
    { ...request, top_k: 3, mode: 'dense', rerank: false },
  ]);
});

test('as one reply: the same answer, and errors are thrown', async () => {
  expect(await answerOnce(deps, request)).toMatchObject({ answer: 'Mont Blanc is 4,806 metres high. [1]' });
  stub.reply((response) => response.json(404, '{}'));
  deps.llm = openLlm({ baseUrl: stub.baseUrl, model: 'none' });
  await expect(answerOnce(deps, request)).rejects.toMatchObject({ reason: 'LLM_REFUSED' });
});

test('as one reply: an error keeps its details, from before and from after the first words', async () => {
  const full = new RagError('QUEUE_FULL', 'full', { details: { retry_after_ms: 2_000 } });
  for (const words of [[], ['Mont Blanc']]) {
    const stream = async function* () {
      yield* words;
      throw full;
    };
    deps.llm = { model: 'full', stream } as Llm;
    await expect(answerOnce(deps, request)).rejects.toBe(full);
  }
});

test('a listener that leaves ends the request to the chat model', async () => {
  const gone = Promise.withResolvers<void>();
  stub.reply((response) => {
    response.raw.on('close', () => gone.resolve());
    response.head();
    response.delta('Mont Blanc ');
    response.delta('is');
  });
  deps.llm = openLlm({ baseUrl: stub.baseUrl, model: 'stub-1' });
  for await (const event of answer(deps, request)) if (event.type === 'delta') break;
  await gone.promise;
});

test("the caller's abort ends the answer with an error", async () => {
  const stop = new AbortController();
  stub.reply((response) => {
    response.head();
    response.delta('Mont Blanc');
  });
  deps.llm = openLlm({ baseUrl: stub.baseUrl, model: 'stub-1' });
  const events: AnswerEvent[] = [];
  for await (const event of answer(deps, request, { signal: stop.signal })) {
    events.push(event);
    if (event.type === 'delta') stop.abort();
  }
  expect(events.at(-1)).toMatchObject({ type: 'error', reason: 'CANCELLED' });
});
