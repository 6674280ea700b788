/** A batch that takes this many times as long as it should is not slow any more, but stuck. */
const PATIENCE = 20;
/** Timers can't be set for longer than 24.8 days, and a prediction of that length is a mistake. */
const LONGEST_MS = 24 * 3_600_000;
/** Longest that a load may take: this, or ten times what a batch may take if that is more. */
const LOAD_LIMIT_MS = 600_000;

/**
 * Longest that a batch may take before its instance is held for dead, in milliseconds: `watchdogMs`, or many times what
 * it should take if that is more, for busy is not dead.
 * @param watchdogMs 0: for ever
 * @param expectedUs what the batch should take; undefined where that is not known
 */
export function batchLimitMs(watchdogMs: number, expectedUs = 0): number {
  if (watchdogMs === 0 || !(expectedUs > 0)) return watchdogMs;
  return Math.max(watchdogMs, Math.min(LONGEST_MS, (expectedUs * PATIENCE) / 1000));
}

/**
 * Longest that a load may take, in milliseconds.
 * @param watchdogMs of a batch; 0: for ever
 */
export function loadLimitMs(watchdogMs: number): number {
  return watchdogMs === 0 ? 0 : Math.max(LOAD_LIMIT_MS, watchdogMs * 10);
}
