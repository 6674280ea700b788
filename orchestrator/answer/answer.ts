import { RagError } from '../errors.ts';
import type { CallOptions, Llm, LlmUsage } from '../ports.ts';
import type {
  AnswerDegradation,
  AnswerDeps,
  AnswerEvent,
  AnswerMode,
  AnswerRequest,
  AnswerResponse,
  AnswerSource,
  AnswerTimings,
  Citation,
  DraftEvent,
  Retrieved,
} from './event.ts';
import { extract, nothingFound } from './extractive.ts';
import { numbered, packPrompt } from './prompt.ts';
import { synthesise } from './synthesise.ts';

export type {
  AnswerDeps,
  AnswerEvent,
  AnswerMode,
  AnswerRequest,
  AnswerResponse,
  AnswerSource,
  Citation,
} from './event.ts';

const defaultTopK = 8;

/** What is known of an answer while it is made. */
interface Draft {
  request: AnswerRequest;
  retrieved: Retrieved;
  degraded: AnswerDegradation[];
  timings: Omit<AnswerTimings, 'total_ms'>;
  startedAt: number;
}

/** What an answerer adds to a draft. */
interface Outcome {
  answer: string;
  citations: Citation[];
  sources: AnswerSource[];
  mode: AnswerMode;
  found: boolean;
  model?: string | undefined;
  removedCitations?: number[] | undefined;
  usage?: LlmUsage | undefined;
}

/**
 * Answers a question from the documents, as a stream of events.
 * What goes wrong before the first event is thrown (so that HTTP can still choose a status); afterwards it comes as
 * an `error` event and the stream ends. A chat model that can't be reached before its first word is replaced by
 * an extractive answer, which `done` tells by `mode` and `degraded`.
 * @throws RagError whatever the search throws; INVALID_INPUT when no source fits into the prompt's budget
 */
export async function* answer(
  deps: AnswerDeps,
  request: AnswerRequest,
  options: CallOptions = {},
): AsyncGenerator<AnswerEvent, void> {
  for await (const event of drafted(deps, request, options)) {
    if (event.type === 'failed') yield toldOf(event.error);
    else yield event;
  }
}

async function* drafted(
  deps: AnswerDeps,
  request: AnswerRequest,
  options: CallOptions,
): AsyncGenerator<DraftEvent, void> {
  const startedAt = performance.now();
  const retrieved = await deps.search({ ...request, top_k: request.top_k ?? defaultTopK }, options);
  const timings = { search: retrieved.timings, search_ms: elapsedSince(startedAt) };
  const draft: Draft = { request, retrieved, degraded: [...retrieved.degraded], timings, startedAt };
  if (retrieved.hits.length === 0) yield* answerNothing(draft, deps.llm);
  else if (deps.llm) yield* answerByLlm({ ...deps, llm: deps.llm }, draft, options);
  else {
    const sources = numbered(retrieved.hits);
    yield { type: 'sources', mode: 'extractive', sources, degraded: draft.degraded };
    yield* guarded(answerByExtract(deps, { draft, sources }, options));
  }
}

/**
 * The same as one reply.
 * @throws RagError also what `answer` tells by an `error` event
 */
export async function answerOnce(
  deps: AnswerDeps,
  request: AnswerRequest,
  options: CallOptions = {},
): Promise<AnswerResponse> {
  for await (const event of drafted(deps, request, options)) {
    if (event.type === 'failed') throw event.error;
    if (event.type === 'done') {
      const { type: _, ...response } = event;
      return response;
    }
  }
  throw new RagError('INTERNAL', 'The answer ended without a result.');
}

function* answerNothing(draft: Draft, llm: Llm | undefined): Generator<DraftEvent> {
  const mode = llm ? 'llm' : 'extractive';
  yield { type: 'sources', mode, sources: [], degraded: draft.degraded };
  yield { type: 'delta', text: nothingFound };
  yield done(draft, {
    answer: nothingFound,
    citations: [],
    sources: [],
    mode,
    found: false,
    model: llm?.model,
  });
}

async function* answerByLlm(
  deps: AnswerDeps & { llm: Llm },
  draft: Draft,
  options: CallOptions,
): AsyncGenerator<DraftEvent, void> {
  const promptStartedAt = performance.now();
  const { query } = draft.request;
  const input = { query, passages: draft.retrieved.hits, budgetTokens: deps.contextTokens };
  const { space } = draft.retrieved;
  const prompt = await packPrompt(input, deps.embedder, { ...options, space });
  draft.timings.prompt_ms = elapsedSince(promptStartedAt);
  const { sources } = prompt;
  yield { type: 'sources', mode: 'llm', sources, degraded: draft.degraded };
  const generateStartedAt = performance.now();
  try {
    const synthesis = yield* synthesise(deps.llm, prompt, { ...options, answerTokens: deps.answerTokens });
    if (!synthesis) return;
    draft.timings.first_token_ms = rounded(synthesis.firstTokenMs);
    draft.timings.generate_ms = elapsedSince(generateStartedAt);
    yield done(draft, { ...synthesis, sources, mode: 'llm', model: deps.llm.model });
  } catch (thrown) {
    const error = RagError.from(thrown);
    if (error.reason !== 'LLM_UNAVAILABLE') {
      yield { type: 'failed', error };
      return;
    }
    draft.degraded.push({ source: 'llm', reason: error.reason, message: error.message });
    yield* guarded(answerByExtract(deps, { draft, sources }, options));
  }
}

async function* answerByExtract(
  deps: AnswerDeps,
  { draft, sources }: { draft: Draft; sources: AnswerSource[] },
  options: CallOptions,
): AsyncGenerator<DraftEvent, void> {
  const startedAt = performance.now();
  const { request, retrieved } = draft;
  const inSpace = { ...options, space: retrieved.space };
  const extraction = await extract({ query: request.query, sources }, deps.embedder, inSpace);
  draft.timings.generate_ms = elapsedSince(startedAt);
  draft.degraded.push(...extraction.degraded);
  const { sentences } = extraction;
  for (const [index, { text, citation }] of sentences.entries()) {
    yield { type: 'delta', text: index === 0 ? text : ` ${text}` };
    yield { type: 'citation', citation };
  }
  const found = sentences.length > 0;
  if (!found) yield { type: 'delta', text: nothingFound };
  yield done(draft, {
    answer: found ? sentences.map(({ text }) => text).join(' ') : nothingFound,
    citations: sentences.map(({ citation }) => citation),
    sources,
    mode: 'extractive',
    found,
  });
}

async function* guarded(events: AsyncGenerator<DraftEvent, void>): AsyncGenerator<DraftEvent, void> {
  try {
    yield* events;
  } catch (thrown) {
    yield { type: 'failed', error: RagError.from(thrown) };
  }
}

function toldOf({ reason, message, retryable }: RagError): AnswerEvent {
  return { type: 'error', reason, message, retryable };
}

function done(draft: Draft, outcome: Outcome): DraftEvent {
  const { answer: text, citations, sources, mode, found, model, removedCitations = [], usage } = outcome;
  const { promptTokens: prompt_tokens, completionTokens: completion_tokens, truncated = false } = usage ?? {};
  return {
    type: 'done',
    answer: text,
    citations,
    sources,
    mode,
    ...(model === undefined ? {} : { model }),
    found,
    removed_citations: removedCitations,
    truncated,
    degraded: draft.degraded,
    ...(usage ? { usage: { prompt_tokens, completion_tokens } } : {}),
    timings: { ...draft.timings, total_ms: elapsedSince(draft.startedAt) },
  };
}

function elapsedSince(startedAt: number): number {
  return rounded(performance.now() - startedAt);
}

/** To a hundredth of a millisecond. */
function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}
