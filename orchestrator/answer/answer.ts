import { RagError } from '../errors.ts';
import type { CallOptions } from '../ports.ts';
import type { AnswerDeps, AnswerEvent, AnswerRequest, AnswerResponse } from './event.ts';

export type {
  AnswerDeps,
  AnswerEvent,
  AnswerMode,
  AnswerRequest,
  AnswerResponse,
  AnswerSource,
  Citation,
} from './event.ts';

/**
 * Answers a question from the documents, as a stream of events.
 * What goes wrong before the first event is thrown (so that HTTP can still choose a status); afterwards it comes as
 * an `error` event and the stream ends.
 * @throws RagError whatever the search throws; INVALID_INPUT
 */
// biome-ignore lint/correctness/useYield: the signature goes first
export async function* answer(
  _deps: AnswerDeps,
  _request: AnswerRequest,
  _options: CallOptions = {},
): AsyncGenerator<AnswerEvent, void> {
  throw new RagError('INTERNAL', 'not built yet');
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
  for await (const event of answer(deps, request, options)) {
    if (event.type === 'error') throw new RagError(event.reason, event.message);
    if (event.type === 'done') {
      const { type: _, ...response } = event;
      return response;
    }
  }
  throw new RagError('INTERNAL', 'The answer ended without a result.');
}
