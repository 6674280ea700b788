/** How much one call may carry. */
export interface CallLimits {
  count: number;
  /** UTF-8 bytes of all texts together; a text that is larger on its own goes alone. */
  bytes: number;
}

/** Calls of one input list that run at once: enough to keep the server busy while a reply travels. */
export const callsAtOnce = 2;

/** Cuts a list of texts into runs that each fit into one call; `start` is the place of a run's first text. */
export function splitIntoCalls(
  texts: readonly string[],
  limits: CallLimits,
): { start: number; texts: string[] }[] {
  const calls: { start: number; texts: string[] }[] = [];
  let bytes = 0;
  for (const [index, text] of texts.entries()) {
    const size = Buffer.byteLength(text);
    const last = calls.at(-1);
    if (last && last.texts.length < limits.count && bytes + size <= limits.bytes) {
      last.texts.push(text);
      bytes += size;
    } else {
      calls.push({ start: index, texts: [text] });
      bytes = size;
    }
  }
  return calls;
}

/**
 * Runs a task for each item, some at once, and gives the results in order. The first failure aborts the others.
 */
export async function mapConcurrently<T, R>(
  items: readonly T[],
  task: (item: T, signal: AbortSignal) => Promise<R>,
  options: { concurrency: number; signal?: AbortSignal | undefined },
): Promise<R[]> {
  const failed = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, failed.signal]) : failed.signal;
  const results = new Array<R>(items.length);
  const pending = items.entries();
  const worker = async () => {
    for (const [index, item] of pending) results[index] = await task(item, signal);
  };
  const workers = Array.from({ length: Math.min(options.concurrency, items.length) }, worker);
  try {
    await Promise.all(workers);
  } catch (error) {
    failed.abort(error);
    await Promise.allSettled(workers);
    throw error;
  }
  return results;
}
