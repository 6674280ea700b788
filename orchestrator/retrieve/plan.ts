import { RagError } from '../errors.ts';
import type { Degradation } from './hit.ts';
import { within } from './within.ts';

/** One way to find something. */
export interface Source<Name extends string, Result> {
  name: Name;
  run: (signal: AbortSignal) => Promise<Result>;
}

export interface PlanResult<Name extends string, Result> {
  /** Of each source that answered, in the order of the sources. */
  results: Map<Name, Result>;
  /** Milliseconds that each source took, whether it answered or not. */
  elapsedMs: Map<Name, number>;
  degraded: Degradation[];
}

/**
 * Asks all sources at once. One that fails or takes too long is reported and the others go on, except when the
 * vectors must not be compared at all: leaving that out would hide it.
 * @throws RagError SPACE_MISMATCH, the caller's reason when its signal aborts, or the first source's failure when
 * all failed
 */
export async function runSources<Name extends Degradation['source'], Result>(
  sources: readonly Source<Name, Result>[],
  options: { timeoutMs: number; signal?: AbortSignal | undefined },
): Promise<PlanResult<Name, Result>> {
  const elapsedMs = new Map<Name, number>();
  const settled = await Promise.allSettled(
    sources.map(async ({ name, run }) => {
      const startedAt = performance.now();
      try {
        return await within(run, { ...options, what: `The ${name} search` });
      } finally {
        elapsedMs.set(name, performance.now() - startedAt);
      }
    }),
  );
  if (options.signal?.aborted) throw RagError.from(options.signal.reason);
  const results = new Map<Name, Result>();
  const failures: { source: Name; error: RagError }[] = [];
  for (const [index, outcome] of settled.entries()) {
    const source = sources[index]!.name;
    if (outcome.status === 'fulfilled') results.set(source, outcome.value);
    else failures.push({ source, error: RagError.from(outcome.reason) });
  }
  const fatal = failures.find(({ error }) => error.reason === 'SPACE_MISMATCH');
  if (fatal) throw fatal.error;
  if (results.size === 0 && failures[0]) throw failures[0].error;
  const degraded = failures.map(({ source, error }) => ({
    source,
    reason: error.reason,
    message: error.message,
  }));
  return { results, elapsedMs, degraded };
}
