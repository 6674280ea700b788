import { RagError } from '../errors.ts';
import type { CallOptions, Llm, LlmUsage } from '../ports.ts';
import { CitationReader } from './citations.ts';
import type { Citation, DraftEvent } from './event.ts';
import type { Prompt } from './prompt.ts';
import { notFoundSentence } from './prompt.ts';

/** What a chat model made of a prompt. */
export interface Synthesis {
  answer: string;
  citations: Citation[];
  removedCitations: number[];
  found: boolean;
  usage: LlmUsage | undefined;
  /** Milliseconds until the first piece came. */
  firstTokenMs: number;
}

/** An event that a chat model's answer is made of. */
export type SynthesisEvent = DraftEvent & { type: 'delta' | 'citation' | 'failed' };

/**
 * Streams the chat model's answer as `delta` and `citation` events, with its citations checked. A failure after the
 * first words comes as a `failed` event, and nothing is returned.
 * @throws RagError before the first words: whatever the chat model throws; LLM_REFUSED when it says nothing
 */
export async function* synthesise(
  llm: Llm,
  prompt: Prompt,
  options: CallOptions & { answerTokens: number },
): AsyncGenerator<SynthesisEvent, Synthesis | undefined> {
  const startedAt = performance.now();
  const reader = new CitationReader(prompt.sources);
  const { signal, answerTokens: maxTokens } = options;
  const pieces = llm.stream(prompt.messages, { signal, maxTokens, temperature: 0 });
  let firstTokenMs: number | undefined;
  let usage: LlmUsage | undefined;
  try {
    for (;;) {
      const next = await pieces.next();
      if (next.done) {
        usage = next.value;
        break;
      }
      firstTokenMs ??= performance.now() - startedAt;
      yield* eventsOf(reader.push(next.value));
    }
    yield* eventsOf(reader.end());
    if (reader.text.trim() === '') {
      throw new RagError('LLM_REFUSED', `The chat model ${llm.model} gave an empty answer.`);
    }
  } catch (thrown) {
    if (reader.text === '') throw thrown;
    yield { type: 'failed', error: RagError.from(thrown) };
    return undefined;
  } finally {
    // A consumer that stops early must not leave the request running.
    await pieces.return(undefined);
  }
  return {
    answer: reader.text,
    citations: reader.citations,
    removedCitations: [...reader.removed],
    found: reader.citations.length > 0 || !reader.text.includes(notFoundSentence),
    usage,
    firstTokenMs: firstTokenMs ?? 0,
  };
}

function* eventsOf(piece: { text: string; citations: Citation[] }): Generator<SynthesisEvent> {
  if (piece.text !== '') yield { type: 'delta', text: piece.text };
  for (const citation of piece.citations) yield { type: 'citation', citation };
}
