import type { DeviceMemory } from '../reports.ts';

/** What a budget accounts for and may evict; a model version. */
export interface Resident {
  /** As in 'model m version 2'. */
  readonly owner: string;
  /** Requests that hold it; above 0 it is in use and never evicted. */
  readonly leases: number;
  /** Its last request, on the budget's clock; before the first one, when it became ready. */
  readonly lastUsedMs: number;
  /** Never evicted, whatever its age; for a version that serves while its successor is loaded, for instance. */
  readonly pinned: boolean;
  /** Idle time after which it goes by itself; -1: never. */
  readonly keepAliveMs: number;
  /**
   * Unloads it. It takes no request any more from the moment of this call; resolves when its memory is back. Never
   * rejects, always ends, and must not wait for a reservation. Idempotent: who is on two devices may be evicted from both.
   */
  evict(why: string): Promise<void>;
}

export type LedgerRow = DeviceMemory['rows'][number];

/** One resident's place in a budget. */
export interface LedgerEntry {
  resident: Resident;
  predictedBytes: number;
  /** Undefined until it has been measured, which is when it has been loaded. */
  measuredBytes: number | undefined;
  /** Set while it is on its way out. */
  leaving: Promise<void> | undefined;
}

/** What an entry counts for: measured where that is known, else predicted. */
export function bytesOf(entry: LedgerEntry): number {
  return entry.measuredBytes ?? entry.predictedBytes;
}

/** Whether an entry has been promised its bytes, but has not been measured yet. */
export function isLoading({ measuredBytes, leaving }: LedgerEntry): boolean {
  return measuredBytes === undefined && leaving === undefined;
}

/** Whether an entry may be evicted now. One that is still loading is not: it belongs to who waits for it. */
export function isEvictable({ resident, measuredBytes, leaving }: LedgerEntry): boolean {
  return measuredBytes !== undefined && leaving === undefined && resident.leases === 0 && !resident.pinned;
}

/** An entry as reports show it. */
export function rowOf(entry: LedgerEntry, device: string, nowMs: number): LedgerRow {
  const { resident } = entry;
  return {
    owner: resident.owner,
    device,
    predictedBytes: entry.predictedBytes,
    measuredBytes: entry.measuredBytes ?? 0,
    leases: resident.leases,
    idleMs: Math.max(0, nowMs - resident.lastUsedMs),
    keepAliveMs: resident.keepAliveMs,
  };
}

/** Bytes for people: whole MB, or kB where it is less than one. */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return 'unlimited';
  return Math.abs(bytes) < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${Math.round(bytes / 1e6)} MB`;
}
