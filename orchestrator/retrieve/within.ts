import { RagError } from '../errors.ts';

/**
 * Waits for work for a limited time, and no longer than the caller does. The work gets a signal and should heed it;
 * work that can't be stopped (a query inside a store) is left to end by itself, and its result is dropped.
 * @throws RagError DEADLINE_EXCEEDED when the time is over, the caller's reason when its signal aborts
 */
export async function within<T>(
  work: (signal: AbortSignal) => Promise<T>,
  limits: { what: string; timeoutMs: number; signal?: AbortSignal | undefined },
): Promise<T> {
  const { what, timeoutMs, signal } = limits;
  if (signal?.aborted) throw RagError.from(signal.reason);
  const stop = new AbortController();
  const { promise: stopped, reject } = Promise.withResolvers<never>();
  stop.signal.addEventListener('abort', () => reject(stop.signal.reason), { once: true });
  const onAbort = () => stop.abort(RagError.from(signal?.reason));
  signal?.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(() => {
    stop.abort(new RagError('DEADLINE_EXCEEDED', `${what} took longer than ${timeoutMs} ms.`));
  }, timeoutMs);
  try {
    return await Promise.race([work(stop.signal), stopped]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}
