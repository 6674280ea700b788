import { ServingError } from '../../errors.ts';
import { bytesOf, formatBytes, isEvictable, type LedgerEntry } from './ledger.ts';

/** A request of one model takes tens of milliseconds, and a queue of them rarely more than this. */
const IN_USE_RETRY_MS = 1_000;
/** A load takes seconds. */
const LOADING_RETRY_MS = 5_000;
const MOST_HOLDERS = 8;

/** The state of a budget when it has to say no. */
export interface Shortage {
  device: string;
  owner: string;
  wantedBytes: number;
  limitBytes: number;
  baseBytes: number;
  usedBytes: number;
  /** What of the device is free above the floor, where that is less than the budget leaves; else undefined. */
  freeBytes: number | undefined;
  entries: readonly LedgerEntry[];
}

/** @returns the ServingError MEMORY_BUDGET_EXCEEDED with all figures; it has a time to retry when waiting may help */
export function refusal(shortage: Shortage): ServingError {
  const { device, owner, wantedBytes, limitBytes, baseBytes, usedBytes, freeBytes, entries } = shortage;
  const figures = `${owner} needs ${formatBytes(wantedBytes)} on ${device}; the budget is ${formatBytes(limitBytes)}`;
  if (baseBytes + wantedBytes > limitBytes) {
    const base = baseBytes > 0 ? `, of which ${formatBytes(baseBytes)} are the server's own` : '';
    return new ServingError(
      'MEMORY_BUDGET_EXCEEDED',
      `${figures}${base}, so it never fits. Raise the budget, use fewer instances, or a smaller model.`,
    );
  }
  if (freeBytes !== undefined) {
    return new ServingError(
      'MEMORY_BUDGET_EXCEEDED',
      `${owner} needs ${formatBytes(wantedBytes)} on ${device}, but only ${formatBytes(freeBytes)} of the machine's memory is free above the floor, and not enough can be unloaded: ${holders(entries)}. Try again in ${LOADING_RETRY_MS} ms; else stop what takes the memory, or lower --memory-floor-mb.`,
      { retryAfterMs: LOADING_RETRY_MS },
    );
  }
  const retryAfterMs = estimateRetryMs(shortage);
  const advice =
    retryAfterMs === undefined
      ? 'What is pinned does not go by itself: raise the budget or unload a model.'
      : `Try again in ${retryAfterMs} ms, or raise the budget.`;
  return new ServingError(
    'MEMORY_BUDGET_EXCEEDED',
    `${figures}, ${formatBytes(usedBytes)} are used and not enough of that can be unloaded: ${holders(entries)}. ${advice}`,
    retryAfterMs === undefined ? undefined : { retryAfterMs },
  );
}

/** When the room may be there: soon if it is only in use, later if it is loading; undefined if it is pinned. */
function estimateRetryMs({ wantedBytes, limitBytes, baseBytes, entries }: Shortage): number | undefined {
  const sum = (of: (entry: LedgerEntry) => boolean) =>
    entries.reduce((bytes, entry) => bytes + (of(entry) ? bytesOf(entry) : 0), 0);
  const room = limitBytes - baseBytes - wantedBytes;
  const isLoading = (entry: LedgerEntry) => entry.measuredBytes === undefined;
  // What is loading is pinned, too, but only until it has been loaded.
  const stays = (entry: LedgerEntry) => entry.resident.pinned && !isLoading(entry);
  if (sum((entry) => stays(entry) || isLoading(entry)) <= room) return IN_USE_RETRY_MS;
  return sum(stays) <= room ? LOADING_RETRY_MS : undefined;
}

function holders(entries: readonly LedgerEntry[]): string {
  if (entries.length === 0) return 'no model is loaded';
  const largest = entries.toSorted((a, b) => bytesOf(b) - bytesOf(a));
  const told = largest
    .slice(0, MOST_HOLDERS)
    .map((entry) => `${entry.resident.owner} ${formatBytes(bytesOf(entry))} (${standing(entry)})`);
  if (largest.length > MOST_HOLDERS) told.push(`${largest.length - MOST_HOLDERS} more`);
  return told.join(', ');
}

function standing(entry: LedgerEntry): string {
  if (entry.leaving !== undefined) return 'being unloaded';
  if (isEvictable(entry)) return 'idle';
  if (entry.measuredBytes === undefined) return 'loading';
  return entry.resident.leases > 0 ? `in use by ${entry.resident.leases}` : 'pinned';
}
