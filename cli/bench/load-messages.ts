import type { LoadResult, LoadTarget, RunPlan } from './load-plan.ts';

/** From the command to the process that makes the load. */
export type ToLoad =
  | { kind: 'open'; target: LoadTarget }
  | { kind: 'run'; plan: RunPlan }
  /** Ends the stretch that runs. */
  | { kind: 'stop' };

/** From the process that makes the load to the command. */
export type FromLoad =
  | { kind: 'opened' }
  | { kind: 'result'; result: LoadResult }
  | { kind: 'failed'; message: string; code: string };
