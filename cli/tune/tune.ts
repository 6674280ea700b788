import { CommandFailure, exitCodes } from '../exit-codes.ts';
import { openBench } from './bench.ts';
import { type Choice, choose } from './choose.ts';
import type { Workload } from './lengths.ts';
import { openOverlay } from './overlay.ts';
import type { Progress } from './progress.ts';
import { type SearchResult, search } from './search.ts';

export interface TuneOptions {
  model: string;
  modelRepository: string;
  targetP99Ms: number;
  budgetMs: number;
  workload: Workload;
  cores: number;
  /** The server's own setting, which the search starts from. */
  batchTokens: number;
  signal: AbortSignal;
  progress: Progress;
}

/**
 * Searches on real servers, and says what is best.
 * @throws CommandFailure when the model is unknown, or nothing could be measured
 */
export async function tune(options: TuneOptions): Promise<{ choice: Choice; result: SearchResult }> {
  const { model, modelRepository, workload, progress, ...rest } = options;
  const overlay = await openOverlay(modelRepository, model);
  try {
    const result = await search({
      ...rest,
      bench: openBench({ model, overlay, workload }),
      nowMs: () => performance.now(),
      onStep: progress.step,
      onPoint: progress.point,
    });
    const choice = choose(result.points, options.targetP99Ms);
    if (choice === undefined) throw nothingMeasured(result, options);
    return { choice, result };
  } finally {
    progress.stop();
    await overlay.remove();
  }
}

function nothingMeasured(
  { ended, failures }: SearchResult,
  { model, budgetMs }: TuneOptions,
): CommandFailure {
  if (ended === 'interrupted')
    return new CommandFailure('interrupted before the first measurement was done; nothing was found.', {
      exitCode: exitCodes.interrupted,
    });
  const [first] = failures;
  if (first !== undefined)
    return new CommandFailure(
      `model ${model} could not be measured in any of ${failures.length} configurations. The first says: ${first.why}`,
    );
  return new CommandFailure(
    `${budgetMs / 1000} s are too short for a single measurement: the server of ${model} was not ready and measured by then. Give it more with --budget-secs.`,
  );
}
