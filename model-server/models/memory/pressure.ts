import type { Freed, MemoryBudget } from './budget.ts';
import { formatBytes } from './ledger.ts';
import type { MemoryReading } from './read-memory.ts';

/** Evicting may free less than the ledger says, so it is looked at again and again, but not for ever. */
const MOST_ROUNDS = 5;

/**
 * Above the budget alone nobody comes to harm, so what has just been used stays: else a model that is wanted again and again
 * would be loaded and unloaded again and again where unloading does not bring resident memory down.
 */
const SPARED_MS = 60_000;

export interface PressureWatchOptions {
  read: () => MemoryReading;
  /** Bytes by which resident memory is above the budget of main memory, whatever its ledger says; below 0 when it is not. */
  residentOverBytes: () => number;
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
 * models turned out larger than predicted or grew since, and unloads idle models at once when the machine or its control
 * group runs short, whoever took the memory.
 */
export class PressureWatch {
  readonly #options: PressureWatchOptions;
  #cancel: (() => void) | undefined;
  #closed = false;
  #checking: Promise<void> | undefined;
  /** So that a shortage that lasts is not told at every look. */
  #toldShortage = false;
  /** Devices above their budget, for the same reason. */
  readonly #toldOver = new Set<string>();

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
      await this.#keepToLimit(budget);
    }
    await this.#freeUpToFloor();
  }

  /** The ledger knows what loads took; what requests made of it since shows in resident memory. */
  async #keepToLimit(budget: MemoryBudget): Promise<void> {
    const { residentOverBytes, log } = this.#options;
    const { device, usedBytes, limitBytes } = budget;
    const inLedger = usedBytes - limitBytes;
    const overBytes = device === 'cpu' ? Math.max(inLedger, residentOverBytes()) : inLedger;
    if (overBytes <= 0) {
      this.#toldOver.delete(device);
      return;
    }
    const what = `${device} is ${formatBytes(overBytes)} over its budget of ${formatBytes(limitBytes)}`;
    const { evicted } = await budget.shrinkTo(usedBytes - overBytes, what, SPARED_MS);
    if (evicted.length > 0) log.warn(`${what}: unloaded ${evicted.join(', ')}.`);
    else if (!this.#toldOver.has(device))
      log.warn(
        `${what}, and no model has been idle for ${SPARED_MS / 1000} s; raise the budget if this stays.`,
      );
    this.#toldOver.add(device);
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
