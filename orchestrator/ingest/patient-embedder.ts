import type { CallOptions, Embedder } from '../ports.ts';
import type { IngestLog } from './ingest-log.ts';
import { type RetryOptions, retried } from './retry.ts';

export interface Patience {
  /** How long to wait for a model server that is away; five minutes unless a test says otherwise. */
  retry?: Pick<RetryOptions, 'attempts' | 'sleep'> | undefined;
  log?: IngestLog | undefined;
}

/** An embedder that gives way to searches, and asks again, with growing pauses, while the model server is away or full. */
export function patientEmbedder(embedder: Embedder, { retry, log }: Patience): Embedder {
  const patiently = <T>(call: () => Promise<T>, options: CallOptions = {}) =>
    retried(call, {
      ...retry,
      signal: options.signal,
      onRetry: ({ reason, message }, attempt) =>
        log?.warn({ reason, error: message, attempt }, 'waiting for the model server'),
    });
  return {
    describe: (options) => patiently(() => embedder.describe(options), options),
    embed: (texts, options) =>
      patiently(() => embedder.embed(texts, { ...options, priority: 'bulk' }), options),
    countTokens: (texts, options) => patiently(() => embedder.countTokens(texts, options), options),
  };
}
