import { RUNTIME_BYTES } from './predict.ts';

export interface LoadGateOptions {
  /** Resident memory of this process now, in bytes. */
  residentBytes: () => number;
  /** What the first load takes once for the whole process; it belongs to the budget's base, not to a model. */
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
  #hasLoaded = false;

  constructor({ residentBytes, runtimeBytes = RUNTIME_BYTES }: LoadGateOptions) {
    this.#residentBytes = residentBytes;
    this.#runtimeBytes = runtimeBytes;
  }

  /**
   * Runs `load` when those before it are done.
   *
   * @param floorBytes the least that is believed, such as the bytes of the weights: memory that an unloaded model left
   * behind may be used again, and then nothing grows
   * @throws what `load` throws; the next load goes on
   */
  measured<T>(load: () => Promise<T>, floorBytes: number): Promise<Measured<T>> {
    const mine = this.#last.then(() => this.#measure(load, floorBytes));
    this.#last = mine.catch(() => undefined);
    return mine;
  }

  async #measure<T>(load: () => Promise<T>, floorBytes: number): Promise<Measured<T>> {
    const beforeBytes = this.#residentBytes();
    const value = await load();
    const onceBytes = this.#hasLoaded ? 0 : this.#runtimeBytes;
    this.#hasLoaded = true;
    const grownBytes = this.#residentBytes() - beforeBytes - onceBytes;
    return { value, grownBytes: Math.max(0, floorBytes, grownBytes) };
  }
}
