import type { Choice } from './choose.ts';
import type { SearchResult } from './search.ts';

/** What a tuning run has found, and what that holds for. */
export interface Finding {
  model: string;
  targetP99Ms: number;
  /** The texts that were sent. */
  workload: string;
  machine: string;
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
