import type { RagError, Reason } from '../errors.ts';
import type { CallOptions, Embedder, Llm } from '../ports.ts';

/** A question as it stands on the wire. */
export interface AnswerRequest {
  /** 1 to 8,000 characters. */
  query: string;
  collection: string;
  /** Sources that the answer may use, 1 to 100. Default 8. */
  top_k?: number | undefined;
  mode?: 'dense' | 'keyword' | 'hybrid' | undefined;
  rerank?: boolean | undefined;
}

/** A chunk that retrieval found; the hits of `search` are that. */
export interface Passage {
  document_id: string;
  chunk_id: string;
  title: string;
  text: string;
  score: number;
  page?: number | undefined;
  page_end?: number | undefined;
  /** Where page_end begins, on the scale of `offsets`. */
  page_end_offset?: number | undefined;
  offsets: { start: number; end: number };
}

/** A part that failed while the rest went on. */
export interface AnswerDegradation {
  source: string;
  reason: Reason;
  message: string;
}

/** What retrieval gives to an answer; the reply of `search` is that. */
export interface Retrieved<T extends object = object> {
  hits: readonly Passage[];
  degraded: readonly AnswerDegradation[];
  timings: T;
  /** Vector space of the collection; absent when nothing has been ingested yet. */
  space?: string | undefined;
}

/** A passage that was really put before the answerer, with the number that the answer cites it by. */
export interface AnswerSource extends Passage {
  /** Counted from 1. */
  number: number;
}

/** A checked reference from the answer to a source. */
export interface Citation {
  /** The source's number, as in the answer's `[n]`. */
  number: number;
  document_id: string;
  chunk_id: string;
  title: string;
  /** Page of the quote, counted from 1; with `page_end` when the quote itself crosses pages. */
  page?: number | undefined;
  page_end?: number | undefined;
  /** Of the chunk in the document's extracted text, in UTF-16 code units. */
  offsets: { start: number; end: number };
  /** The sentence of the source that supports the answer best, word for word. */
  quote: string;
  /** Of the quote in the document's extracted text. */
  quote_offsets: { start: number; end: number };
}

/** llm: written by a chat model. extractive: sentences of the sources, word for word. */
export type AnswerMode = 'llm' | 'extractive';

/** Milliseconds of each stage; `search` is what retrieval told. A stage that did not run is absent. */
export interface AnswerTimings {
  search: object;
  search_ms: number;
  prompt_ms?: number | undefined;
  first_token_ms?: number | undefined;
  generate_ms?: number | undefined;
  total_ms: number;
}

/** A whole answer: the last event of the stream, and the JSON reply. */
export interface AnswerResponse {
  answer: string;
  citations: Citation[];
  sources: AnswerSource[];
  mode: AnswerMode;
  /** Name of the chat model; absent when the answer is extractive. */
  model?: string | undefined;
  /** False when no passage was relevant enough to answer from; `answer` says so. */
  found: boolean;
  /** Numbers that the chat model cited although no such source was sent; they were taken out of the answer. */
  removed_citations: number[];
  /** True when the chat model reached its token limit before it had finished. */
  truncated: boolean;
  degraded: AnswerDegradation[];
  usage?: { prompt_tokens?: number | undefined; completion_tokens?: number | undefined } | undefined;
  timings: AnswerTimings;
}

/**
 * What a stream of an answer is made of, in this order: one `sources`, then `delta` and `citation` as they come,
 * then one `done` or one `error`. The deltas together are exactly `done.answer`.
 */
export type AnswerEvent =
  | { type: 'sources'; mode: AnswerMode; sources: AnswerSource[]; degraded: AnswerDegradation[] }
  | { type: 'delta'; text: string }
  | { type: 'citation'; citation: Citation }
  | ({ type: 'done' } & AnswerResponse)
  | { type: 'error'; reason: Reason; message: string; retryable: boolean };

/**
 * The same events inside the answerers, where a failure is still the error that was thrown: what goes on the wire
 * lacks its details.
 */
export type DraftEvent = Exclude<AnswerEvent, { type: 'error' }> | { type: 'failed'; error: RagError };

/** What an answer needs from the outside. */
export interface AnswerDeps {
  /** Retrieval, bound to its own dependencies: `(request, options) => search(searchDeps, request, options)`. */
  search: (request: AnswerRequest, options: CallOptions) => Promise<Retrieved>;
  embedder: Embedder;
  /** None: answers are extractive. */
  llm?: Llm | undefined;
  /** Tokens that a prompt may take, sources included. */
  contextTokens: number;
  /** Tokens that an answer may take. */
  answerTokens: number;
}
