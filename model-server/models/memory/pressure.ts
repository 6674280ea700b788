import type { Freed, MemoryBudget } from './budget.ts';
import { formatBytes } from './ledger.ts';
import type { MemoryReading } from './read-memory.ts';

/** Evicting may free less than the ledger says, so it is looked at again and again, but not for ever. */
const MOST_ROUNDS = 5;

export interface PressureWatchOptions {
  read: () => MemoryReading;
  budgets: readonly MemoryBudget[];
  /** Free memory below which idle models are evicted. */
  floorBytes: number;
  intervalMs: number;
  /** How to wait; the returned function cancels. */
  after: (delayMs: number, task: () => void) => () => void;
  log: { info(message: string): void; warn(message: string): void };
}

/**
 * Looks at memory from time to time: unloads what has outlived its keep-alive, keeps each budget to its limit where
 * models turned out larger than predicted, and unloads idle models when the machine or its control group runs short,
 * whoever took the memory.
 */
export class PressureWatch {
  readonly #options: PressureWatchOptions;
  #cancel: (() => void) | undefined;
  #closed = false;
  #checking: Promise<void> | undefined;
  /** So that a shortage that lasts is not told at every look. */
  #toldShortage = false;

  constructor(options: PressureWatchOptions) {
    this.#options = options;
  }

  /** Looks every `intervalMs` from now on. */
  start(): void {
    if (this.#closed) return;
    this.#cancel = this.#options.after(this.#options.intervalMs, () => {
      void this.check().finally(() => this.start());
    });
  }

  /** One look, now; a call while one is under way is that one. Never rejects. */
  check(): Promise<void> {
    this.#checking ??= this.#check()
      .catch((error) => this.#options.log.warn(`The look at free memory failed: ${String(error)}`))
      .finally(() => {
        this.#checking = undefined;
      });
    return this.#checking;
  }

  /** Unloads everything that is idle and not pinned, on every device. @param why for those who are evicted */
  async cleanUp(why: string): Promise<Freed> {
    const all = await Promise.all(this.#options.budgets.map((budget) => budget.shrinkTo(0, why)));
    return {
      evicted: all.flatMap((freed) => freed.evicted),
      freedBytes: all.reduce((sum, freed) => sum + freed.freedBytes, 0),
    };
  }

  /** Stops looking; a look under way is finished. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    await this.#checking;
  }

  async #check(): Promise<void> {
    const { budgets, log } = this.#options;
    for (const budget of budgets) {
      const expired = await budget.evictExpired();
      if (expired.length > 0) log.info(`Idle for longer than their keep-alive: ${expired.join(', ')}.`);
      const overBytes = budget.usedBytes - budget.limitBytes;
      if (overBytes <= 0) continue;
      const what = `${budget.device} is ${formatBytes(overBytes)} over its budget of ${formatBytes(budget.limitBytes)}`;
      const { evicted } = await budget.shrinkTo(budget.limitBytes, what);
      if (evicted.length > 0) log.warn(`${what}: unloaded ${evicted.join(', ')}.`);
    }
    await this.#freeUpToFloor();
  }

  /** Evicts the largest and idlest, round by round, until the floor is free. */
  async #freeUpToFloor(): Promise<void> {
    const { read, budgets, floorBytes, log } = this.#options;
    const before = read().availableBytes;
    let available = before;
    const evicted: string[] = [];
    for (let round = 0; round < MOST_ROUNDS && available < floorBytes; round++) {
      const why = `free memory was ${formatBytes(available)}, below the floor of ${formatBytes(floorBytes)}`;
      const missingBytes = floorBytes - available;
      const inMainMemory = budgets.filter((budget) => budget.device === 'cpu');
      const freed = await Promise.all(
        inMainMemory.map((budget) => budget.shrinkTo(budget.usedBytes - missingBytes, why)),
      );
      const owners = freed.flatMap((one) => one.evicted);
      if (owners.length === 0) break;
      evicted.push(...owners);
      available = read().availableBytes;
    }
    const figures = `free memory ${formatBytes(before)} -> ${formatBytes(available)}, floor ${formatBytes(floorBytes)}`;
    if (evicted.length > 0) log.warn(`Emergency clean-up: ${figures}; unloaded ${evicted.join(', ')}.`);
    else if (available < floorBytes && !this.#toldShortage)
      log.warn(`Memory is short and nothing idle is left to unload: ${figures}.`);
    this.#toldShortage = available < floorBytes;
  }
}
