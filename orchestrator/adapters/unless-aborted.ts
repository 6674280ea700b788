import { RagError } from '../errors.ts';

/**
 * Waits for work that others wait for too: an abort ends only the waiting.
 * @throws RagError the signal's reason when it aborts first, and what the work throws
 */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  if (signal.aborted) {
    // Nobody waits for it any more; its failure must not count as unhandled.
    work.catch(() => undefined);
    throw RagError.from(signal.reason);
  }
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(RagError.from(signal.reason));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
