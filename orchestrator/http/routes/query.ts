import type { Request, Response } from 'express';
import { z } from 'zod';
import type { AnswerEvent } from '../../answer/answer.ts';
import type { SearchTimings } from '../../retrieve/search.ts';
import { maxQueryLength, maxTopK } from '../../retrieve/search.ts';
import type { AppDeps } from '../app-deps.ts';
import { collectionName } from '../fields.ts';
import type { Route } from '../route.ts';
import { route } from '../route.ts';
import { errorEvent, streamEvents } from '../sse.ts';
import { degradation, mode, offsets, passage, searchErrors, searchTimings } from './search.ts';

/** A question of the longest kind in any spelling fits. */
const maxBodyBytes = 128 * 1024;
const defaultHeartbeatMs = 15_000;
const question = z.string().trim().min(1).max(maxQueryLength);
const answerMode = z.enum(['llm', 'extractive']).meta({
  description: 'llm: written by a chat model; extractive: sentences of the sources, word for word',
});
const number = z.int().meta({ description: 'as in the `[n]` of the answer, from 1' });

const queryRequest = z
  .strictObject({
    query: question.optional().meta({ description: 'the question; this or `question` is needed' }),
    question: question.optional().meta({ description: 'another name for `query`' }),
    collection: collectionName,
    top_k: z.int().min(1).max(maxTopK).default(8).meta({ description: 'sources that the answer may use' }),
    mode: mode.default('hybrid'),
    rerank: z.boolean().default(true),
    stream: z.boolean().optional().meta({
      description: 'answer with server-sent events; an `Accept: text/event-stream` asks for the same',
    }),
  })
  .refine((body) => (body.query === undefined) !== (body.question === undefined), {
    path: ['query'],
    message: 'give the question in `query` or in `question`, once',
  })
  .meta({ id: 'QueryRequest' });

const citation = z
  .strictObject({
    number,
    document_id: z.string(),
    chunk_id: z.string(),
    title: z.string(),
    page: z.int().optional(),
    page_end: z.int().optional(),
    offsets,
    quote: z
      .string()
      .meta({ description: 'the sentence of the source that supports the answer best, word for word' }),
    quote_offsets: offsets,
  })
  .meta({ id: 'Citation' });

const source = z.strictObject({ number, ...passage }).meta({ id: 'AnswerSource' });

const answerFields = {
  answer: z.string(),
  citations: z.array(citation),
  sources: z.array(source),
  mode: answerMode,
  model: z.string().optional().meta({ description: 'the chat model; absent when the answer is extractive' }),
  found: z
    .boolean()
    .meta({ description: 'false when nothing relevant enough was found; the answer says so' }),
  removed_citations: z.array(z.int()).meta({ description: 'numbers of no source, taken out of the answer' }),
  truncated: z
    .boolean()
    .meta({ description: 'whether the chat model reached its token limit before the end' }),
  degraded: z.array(degradation),
  usage: z
    .strictObject({ prompt_tokens: z.int().optional(), completion_tokens: z.int().optional() })
    .optional(),
  timings: z.strictObject({
    search: searchTimings,
    search_ms: z.number(),
    prompt_ms: z.number().optional(),
    first_token_ms: z.number().optional(),
    generate_ms: z.number().optional(),
    total_ms: z.number(),
  }),
};

const queryResponse = z.strictObject(answerFields).meta({ id: 'QueryResponse' });

const queryEvent = z
  .discriminatedUnion('type', [
    z.strictObject({
      type: z.literal('sources'),
      mode: answerMode,
      sources: z.array(source),
      degraded: z.array(degradation),
    }),
    z.strictObject({ type: z.literal('delta'), text: z.string() }),
    z.strictObject({ type: z.literal('citation'), citation }),
    z.strictObject({ type: z.literal('done'), ...answerFields }),
    errorEvent,
  ])
  .meta({
    id: 'QueryEvent',
    description:
      'the `event` field of each event is its `type`; one sources, then deltas and citations, then one done or one error',
  });

/** Answering questions. */
export function queryRoutes(deps: AppDeps): Route[] {
  return [
    route({
      method: 'post',
      path: '/v1/query',
      summary: 'An answer with citations',
      description: 'Answers from the documents, as one JSON reply or, when asked for, as server-sent events.',
      tag: 'query',
      body: queryRequest,
      maxBodyBytes,
      responses: {
        200: { description: 'The answer, whole or as it is made', json: queryResponse, events: queryEvent },
      },
      errors: [...searchErrors, 'LLM_UNAVAILABLE', 'LLM_REFUSED'],
      timeoutMs: deps.config.requestTimeoutMs,
      async handle({ body, request, response, signal }) {
        const { query, question: asked, stream, ...rest } = body;
        const wanted = { ...rest, query: query ?? asked ?? '' };
        if (stream ?? acceptsEvents(request)) {
          await streamAnswer(deps, deps.answer(wanted, { signal }), { response, signal });
          return 'sent';
        }
        const answer = await deps.answerOnce(wanted, { signal });
        measure(deps, answer);
        // Answers carry the timings of whatever retrieval they were given; here it is our search.
        const timings = { ...answer.timings, search: answer.timings.search as SearchTimings };
        return { status: 200, body: { ...answer, timings } };
      },
    }),
  ];
}

function acceptsEvents(request: Request): boolean {
  return request.accepts(['application/json', 'text/event-stream']) === 'text/event-stream';
}

/** The status is sent with the first event, so that what fails before it is a plain error reply. */
async function streamAnswer(
  deps: AppDeps,
  events: AsyncGenerator<AnswerEvent, void>,
  { response, signal }: { response: Response; signal: AbortSignal },
): Promise<void> {
  const first = await events.next();
  const { heartbeatMs = defaultHeartbeatMs } = deps;
  await streamEvents(response, { signal, heartbeatMs }, async (sink) => {
    try {
      for (let next = first; !next.done; next = await events.next()) {
        if (next.value.type === 'done') measure(deps, next.value);
        await sink.send(next.value);
      }
    } finally {
      await events.return();
    }
  });
}

function measure(deps: AppDeps, done: { mode: string; found: boolean; timings: { total_ms: number } }): void {
  deps.metrics.answerDone({ mode: done.mode, found: done.found, seconds: done.timings.total_ms / 1000 });
}
