import { setTimeout } from 'node:timers/promises';
import { RagError, type Reason } from '../errors.ts';
import type { CallOptions } from '../ports.ts';

/** Waits; tests give one that does not. */
export type Sleep = (ms: number, signal: AbortSignal | undefined) => Promise<void>;

export interface RetryOptions extends CallOptions {
  /** Calls at most. The default with the default pauses lasts five minutes: the model server may be restarting. */
  attempts?: number | undefined;
  sleep?: Sleep | undefined;
  onRetry?: ((error: RagError, attempt: number) => void) | undefined;
}

const DEFAULT_ATTEMPTS = 26;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

/** What passes when the model server is back, or has worked off its queue. */
const passing: readonly Reason[] = ['MODEL_SERVER_UNAVAILABLE', 'QUEUE_FULL', 'DEADLINE_EXCEEDED'];

async function sleepFor(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await setTimeout(ms, undefined, signal === undefined ? undefined : { signal });
}

/**
 * Calls the model server again, with growing pauses, while it is away or full.
 * @throws RagError of the last call, or the signal's reason
 */
export async function retried<T>(call: () => Promise<T>, options: RetryOptions = {}): Promise<T> {
  const { attempts = DEFAULT_ATTEMPTS, sleep = sleepFor, signal } = options;
  for (let attempt = 1; ; attempt++) {
    try {
      return await call();
    } catch (thrown) {
      signal?.throwIfAborted();
      const error = RagError.from(thrown);
      if (!passing.includes(error.reason) || attempt >= attempts) throw error;
      options.onRetry?.(error, attempt);
      try {
        await sleep(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (attempt - 1)), signal);
      } finally {
        signal?.throwIfAborted();
      }
    }
  }
}
