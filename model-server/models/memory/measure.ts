import { RUNTIME_BYTES } from './predict.ts';

export interface LoadGateOptions {
  /** Resident memory of this process now, in bytes. */
  residentBytes: () => number;
  /** What the first load takes once for this whole process; it belongs to the budget's base, not to a model. */
  runtimeBytes?: number | undefined;
}

/** What a load gave and how much resident memory grew by it. */
export interface Measured<T> {
  value: T;
  grownBytes: number;
}

/** Loads one model at a time in this process, so that the growth of resident memory belongs to one version. */
export class LoadGate {
  readonly #residentBytes: () => number;
  readonly #runtimeBytes: number;
  #last: Promise<unknown> = Promise.resolve();
  #hasRuntime = false;

  constructor({ residentBytes, runtimeBytes = RUNTIME_BYTES }: LoadGateOptions) {
    this.#residentBytes = residentBytes;
    this.#runtimeBytes = runtimeBytes;
  }

  /**
   * Runs `load` when those before it are done.
   *
   * @param floorBytes the least that is believed of what was loaded, such as the bytes of the weights: memory that an
   * unloaded model left behind may be used again, and then nothing grows
   * @param ownBytes what the processes that the load has started say of themselves; undefined when it started none.
   * Where there is such a figure it counts, and not the growth of this process
   * @throws what `load` throws; the next load goes on
   */
  measured<T>(
    load: () => Promise<T>,
    floorBytes: (value: T) => number,
    ownBytes?: (value: T) => number | undefined,
  ): Promise<Measured<T>> {
    const mine = this.#last.then(async () => {
      const beforeBytes = this.#residentBytes();
      const grown = () => this.#residentBytes() - beforeBytes;
      try {
        const value = await load();
        const grownBytes = ownBytes?.(value) ?? this.#withoutRuntime(grown());
        return { value, grownBytes: Math.max(0, floorBytes(value), grownBytes) };
      } catch (error) {
        // A load that failed late has brought the runtime in all the same.
        this.#hasRuntime ||= grown() > this.#runtimeBytes / 2;
        throw error;
      }
    });
    this.#last = mine.catch(() => undefined);
    return mine;
  }

  #withoutRuntime(grownBytes: number): number {
    const onceBytes = this.#hasRuntime ? 0 : this.#runtimeBytes;
    this.#hasRuntime = true;
    return grownBytes - onceBytes;
  }
}
