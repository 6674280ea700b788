import type { ModelState } from './reports.ts';

/** Which state of a version may follow which; everything else is a mistake in this program. */
export const NEXT_STATES: Readonly<Record<ModelState, readonly ModelState[]>> = {
  unloaded: ['loading', 'failed'],
  loading: ['ready', 'failed', 'unloaded'],
  ready: ['draining'],
  draining: ['unloaded'],
  failed: ['loading', 'unloaded'],
};
