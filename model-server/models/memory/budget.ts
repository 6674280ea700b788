import type { DeviceMemory } from '../reports.ts';
import { chooseVictims } from './choose-victims.ts';
import {
  bytesOf,
  formatBytes,
  isEvictable,
  isLoading,
  type LedgerEntry,
  type LedgerRow,
  type Resident,
  rowOf,
} from './ledger.ts';
import { refusal } from './refusal.ts';

/** A resident's hold on its bytes, from before it is loaded until it is gone. */
export interface Reservation {
  readonly predictedBytes: number;
  /** After loading: what it takes in truth. A later call replaces the figure; after `release` it does nothing. */
  settle(measuredBytes: number): void;
  /** While it loads: it will take more or less than was planned, from room that has been found already. */
  resize(predictedBytes: number): void;
  /** After unloading, or when the load has failed. Idempotent. */
  release(): void;
}

export interface MemoryBudgetOptions {
  /** cpu, or gpu:<index>. */
  device: string;
  /** Number.POSITIVE_INFINITY: nothing is ever refused or evicted for want of room. */
  limitBytes: number;
  /** What is taken without any model; it counts against the limit. */
  baseBytes: number;
  /**
   * Bytes of the device that may still be taken, whoever holds the rest; asked before each load, which must fit into them
   * too. Absent: nothing bounds a load but the limit.
   */
  freeBytes?: (() => number) | undefined;
  /** A clock that never goes back; `Resident.lastUsedMs` is read on the same. */
  nowMs: () => number;
}

/** What a clean-up achieved. */
export interface Freed {
  /** Owners, least valuable first. */
  evicted: string[];
  freedBytes: number;
}

/**
 * The memory of one device. Room is made before a model is loaded, by evicting what has been idle for long and takes
 * much; what is in use, pinned or still loading is never evicted.
 */
export class MemoryBudget {
  readonly device: string;
  readonly limitBytes: number;
  readonly baseBytes: number;
  readonly #freeBytes: () => number;
  readonly #nowMs: () => number;
  readonly #entries = new Set<LedgerEntry>();
  /** The last reservation in line; they are served one after the other, so none takes the room made for another. */
  #last: Promise<unknown> = Promise.resolve();
  #inLine = 0;

  constructor({ device, limitBytes, baseBytes, freeBytes, nowMs }: MemoryBudgetOptions) {
    this.device = device;
    this.limitBytes = limitBytes;
    this.baseBytes = baseBytes;
    this.#freeBytes = freeBytes ?? (() => Number.POSITIVE_INFINITY);
    this.#nowMs = nowMs;
  }

  /** Base and all entries: measured where that is known, else predicted. */
  get usedBytes(): number {
    let used = this.baseBytes;
    for (const entry of this.#entries) used += bytesOf(entry);
    return used;
  }

  /** One row per entry, in the order of their reservations. */
  rows(): LedgerRow[] {
    return [...this.#entries].map((entry) => rowOf(entry, this.device, this.#nowMs()));
  }

  /** @param residentBytes what the system says that is taken now; 0 where it can't be read */
  report(residentBytes: number): DeviceMemory {
    const { device, limitBytes, baseBytes, usedBytes } = this;
    // An unlimited budget is 0, as in its setting: JSON has no infinity.
    const limit = Number.isFinite(limitBytes) ? limitBytes : 0;
    return { device, limitBytes: limit, baseBytes, usedBytes, residentBytes, rows: this.rows() };
  }

  /**
   * Takes bytes for a resident that is about to load, making room first: in the budget, and on the device where others have
   * taken it. Calls are served in order.
   * @throws ServingError MEMORY_BUDGET_EXCEEDED when unloading everything idle would not do; that is known before
   * anything is evicted
   */
  async reserve(resident: Resident, predictedBytes: number): Promise<Reservation> {
    if (!this.fits(predictedBytes)) throw this.#refusal(resident, predictedBytes, undefined);
    this.#inLine++;
    const mine = this.#last
      .then(() => this.#makeRoomAndEnter(resident, predictedBytes))
      .finally(() => {
        this.#inLine--;
      });
    this.#last = mine.catch(() => undefined);
    return mine;
  }

  /**
   * Takes bytes only if nobody has to go for them and nobody waits for room.
   * @returns undefined when they are not free
   */
  reserveIfFree(resident: Resident, predictedBytes: number): Reservation | undefined {
    if (this.#inLine > 0 || this.#lacking(predictedBytes).neededBytes > 0) return undefined;
    return this.#enter(resident, predictedBytes);
  }

  /** Whether this much fits when nothing else is loaded. */
  fits(predictedBytes: number): boolean {
    return this.baseBytes + predictedBytes <= this.limitBytes;
  }

  /** Evicts what has been idle for longer than its keep-alive. @returns the owners */
  async evictExpired(): Promise<string[]> {
    const nowMs = this.#nowMs();
    const expired = [...this.#entries].filter((entry) => {
      const { keepAliveMs, lastUsedMs } = entry.resident;
      return keepAliveMs >= 0 && nowMs - lastUsedMs >= keepAliveMs && isEvictable(entry);
    });
    await Promise.all(
      expired.map((entry) =>
        this.#evict(entry, `it was idle for its keep-alive of ${entry.resident.keepAliveMs} ms`),
      ),
    );
    return expired.map((entry) => entry.resident.owner);
  }

  /**
   * Evicts the least valuable until at most `bytes` are used (base included), or nothing evictable is left.
   * @param why for those who are evicted, as in 'free memory is below the floor'
   * @param idleMs spares what has been used since
   */
  async shrinkTo(bytes: number, why: string, idleMs = 0): Promise<Freed> {
    const leaving = this.#leaving();
    const candidates = this.#candidates().filter((candidate) => candidate.idleMs >= idleMs);
    const victims = chooseVictims(candidates, this.usedBytes - leaving.bytes - bytes) ?? candidates;
    const freedBytes = victims.reduce((sum, victim) => sum + victim.bytes, 0);
    const goings = victims.map(({ entry }) => this.#evict(entry, why));
    await Promise.all([leaving.gone, ...goings]);
    return { evicted: victims.map(({ entry }) => entry.resident.owner), freedBytes };
  }

  async #makeRoomAndEnter(resident: Resident, predictedBytes: number): Promise<Reservation> {
    // Once is enough, unless something else turned out larger than predicted while the victims were unloaded.
    for (;;) {
      const { neededBytes, freeBytes } = this.#lacking(predictedBytes);
      if (neededBytes <= 0) return this.#enter(resident, predictedBytes);
      const leaving = this.#leaving();
      const victims = chooseVictims(this.#candidates(), neededBytes - leaving.bytes);
      if (victims === undefined) throw this.#refusal(resident, predictedBytes, freeBytes);
      const why = `${resident.owner} needed ${formatBytes(predictedBytes)} on ${this.device}`;
      const goings = victims.map(({ entry }) => this.#evict(entry, why));
      await Promise.all([leaving.gone, ...goings]);
    }
  }

  /** What has to come free, and what of the device is free now if that is the tighter bound. */
  #lacking(predictedBytes: number): { neededBytes: number; freeBytes: number | undefined } {
    const inBudget = this.usedBytes + predictedBytes - this.limitBytes;
    const loading = [...this.#entries].filter(isLoading);
    // What is loading has been promised its bytes, though it may not have taken them yet.
    const freeBytes = this.#freeBytes() - loading.reduce((sum, entry) => sum + bytesOf(entry), 0);
    const onDevice = predictedBytes - freeBytes;
    return onDevice > inBudget
      ? { neededBytes: onDevice, freeBytes: Math.max(0, freeBytes) }
      : { neededBytes: inBudget, freeBytes: undefined };
  }

  #enter(resident: Resident, predictedBytes: number): Reservation {
    const entry: LedgerEntry = { resident, predictedBytes, measuredBytes: undefined, leaving: undefined };
    this.#entries.add(entry);
    return {
      get predictedBytes() {
        return entry.predictedBytes;
      },
      settle(measuredBytes) {
        entry.measuredBytes = measuredBytes;
      },
      resize(bytes) {
        entry.predictedBytes = bytes;
      },
      release: () => void this.#entries.delete(entry),
    };
  }

  /** What is on its way out already. */
  #leaving(): { bytes: number; gone: Promise<unknown> } {
    const entries = [...this.#entries].filter((entry) => entry.leaving !== undefined);
    const bytes = entries.reduce((sum, entry) => sum + bytesOf(entry), 0);
    return { bytes, gone: Promise.all(entries.map((entry) => entry.leaving)) };
  }

  #candidates() {
    const nowMs = this.#nowMs();
    return [...this.#entries].filter(isEvictable).map((entry) => ({
      entry,
      bytes: bytesOf(entry),
      idleMs: nowMs - entry.resident.lastUsedMs,
    }));
  }

  /** The entry goes when its memory is back, whether or not the resident releases its reservation by itself. */
  #evict(entry: LedgerEntry, why: string): Promise<void> {
    const gone = () => void this.#entries.delete(entry);
    entry.leaving = entry.resident.evict(why).then(gone, gone);
    return entry.leaving;
  }

  #refusal({ owner }: Resident, wantedBytes: number, freeBytes: number | undefined) {
    const { device, limitBytes, baseBytes, usedBytes } = this;
    const entries = [...this.#entries];
    return refusal({ device, owner, wantedBytes, limitBytes, baseBytes, usedBytes, freeBytes, entries });
  }
}
