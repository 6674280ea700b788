import type { Resident } from '../../model-server/models/memory/ledger.ts';

/** A model version as a budget sees it; the test says when its memory is back. */
export class FakeResident implements Resident {
  readonly owner: string;
  leases = 0;
  lastUsedMs = 0;
  pinned = false;
  keepAliveMs = -1;
  /** Why it was evicted, once it was. */
  evictedWhy: string | undefined;
  /** What it was when it was evicted. */
  evictedWhile: { leases: number; pinned: boolean } | undefined;
  readonly #gone = Promise.withResolvers<void>();
  readonly #atOnce: boolean;

  constructor(
    owner: string,
    options: Partial<Pick<Resident, 'lastUsedMs' | 'leases' | 'pinned' | 'keepAliveMs'>> & {
      gated?: boolean;
    } = {},
  ) {
    const { gated = false, ...rest } = options;
    this.owner = owner;
    this.#atOnce = !gated;
    Object.assign(this, rest);
  }

  evict(why: string): Promise<void> {
    if (this.evictedWhy !== undefined) throw new Error(`${this.owner} was evicted twice`);
    this.evictedWhy = why;
    this.evictedWhile = { leases: this.leases, pinned: this.pinned };
    if (this.#atOnce) this.#gone.resolve();
    return this.#gone.promise;
  }

  /** Its memory is back. */
  finishEviction(): void {
    this.#gone.resolve();
  }
}
