import type { Choice } from './choose.ts';
import type { SearchResult } from './search.ts';

/** What a tuning run has found, and what that holds for. */
export interface Finding {
  model: string;
  targetP99Ms: number;
  /** The texts that were sent. */
  workload: string;
  machine: string;
  /** What else the machine did when the search began; undefined when it was quiet. */
  disturbance: string | undefined;
  /** Day of the measurement, as in 2026-01-31. */
  date: string;
  choice: Choice;
  result: SearchResult;
}

/** How the search ended, for the reader. */
export const endings = {
  complete: 'The search is complete.',
  budget:
    'The time was over before the search was complete; more of it (--budget-secs) may find something better.',
  interrupted: 'The search was interrupted; this is what was measured until then.',
} as const satisfies Record<SearchResult['ended'], string>;

/** Milliseconds, as exact as they deserve. */
export function msText(ms: number): string {
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

/** Texts per second. */
export function rateText(textsPerSecond: number): string {
  return `${textsPerSecond.toFixed(textsPerSecond < 10 ? 1 : 0)} texts/s`;
}

/** Processes that want to run for each core, above which a measurement is disturbed. */
const BUSY = 0.5;

/** Says so when other programs take the cores; systems without a load average are taken for quiet. */
export function disturbanceOf(loadAverage: number, cores: number): string | undefined {
  if (loadAverage <= BUSY * cores) return undefined;
  return `other programs took the processor when the search began (load average ${loadAverage.toFixed(1)} on ${cores} core${cores === 1 ? '' : 's'}), so the figures are lower than they could be`;
}
