import { ServingError } from '../../errors.ts';
import type { InstancePlan } from '../../executor/devices.ts';
import type { Pool } from '../../executor/pool.ts';
import type { Batch } from '../../types.ts';
import type { Layout } from '../layout/layout.ts';
import type { Shape, Workbench } from '../layout/workbench.ts';
import type { MemoryBudget, Reservation } from '../memory/budget.ts';
import type { Resident } from '../memory/ledger.ts';

export interface PoolBenchOptions {
  /** Model and version. */
  owner: string;
  pool: Pool;
  /** The layout whose instances the pool has been opened with, and these. */
  base: Layout;
  baseInstances: readonly InstancePlan[];
  instancesOf: (layout: Layout) => InstancePlan[];
  bytesOf: (layout: Layout) => number;
  budget: MemoryBudget;
  /** Of the version; it holds the bytes of the first layout, and in the end those of the chosen one. */
  reservation: Reservation;
  /** A new batch of this shape, for each run takes its own away. */
  batchOf: (shape: Shape) => Batch;
  nowMs: () => number;
}

/** The instances of one layout, and the hold on their memory; the first layout's is the version's own. */
interface Group {
  layout: Layout;
  instances: readonly InstancePlan[];
  trial?: Reservation | undefined;
}

/** No batch takes less; it keeps a clock that stands still from making rates without end. */
const SHORTEST_MS = 0.001;

/**
 * Layouts of one version, tried on its own pool. What is on trial takes only memory that is free, and may be evicted like
 * whatever is idle: `isWanted` then says that its room is needed.
 */
export class PoolBench implements Workbench {
  readonly #options: PoolBenchOptions;
  readonly #groups: Group[];
  readonly #settled = Promise.withResolvers<void>();
  #isWanted = false;

  constructor(options: PoolBenchOptions) {
    this.#options = options;
    this.#groups = [{ layout: options.base, instances: options.baseInstances }];
  }

  /** Whether somebody waits for the memory of what is on trial. */
  get isWanted(): boolean {
    return this.#isWanted;
  }

  async open(layout: Layout): Promise<boolean> {
    const { budget, bytesOf, pool, instancesOf } = this.#options;
    const trial = budget.reserveIfFree(this.#resident(), bytesOf(layout));
    if (trial === undefined) return false;
    // As loaded, for what is loading is never evicted.
    trial.settle(trial.predictedBytes);
    const instances = instancesOf(layout);
    this.#groups.push({ layout, instances, trial });
    await pool.add(instances);
    return true;
  }

  async keep(layouts: readonly Layout[]): Promise<void> {
    const widths = layouts.flatMap(({ threads, lone }) => [threads, lone]);
    const others = this.#groups.filter(({ layout }) => !widths.includes(layout.threads));
    for (const group of others) this.#groups.splice(this.#groups.indexOf(group), 1);
    await this.#options.pool.keep(this.#groups.flatMap(({ instances }) => instances));
    for (const { trial } of others) trial?.release();
  }

  async saturate(layout: Layout, shape: Shape): Promise<number> {
    const { owner, pool, batchOf, nowMs } = this.#options;
    const { instances } = this.#groupOf(layout.threads);
    const executors = pool.idle(instances);
    if (executors.length < instances.length)
      throw new ServingError('EXECUTOR_CRASHED', `${owner}: an instance died while layouts were timed.`);
    // Each by its own time: under load nobody waits for the slowest.
    const rates = executors.map(async (executor) => {
      const startMs = nowMs();
      await executor.run(batchOf(shape));
      return (shape.rows * 1000) / Math.max(nowMs() - startMs, SHORTEST_MS);
    });
    return (await Promise.all(rates)).reduce((sum, rate) => sum + rate, 0);
  }

  async alone(layout: Layout, shape: Shape): Promise<number> {
    const { owner, pool, batchOf, nowMs } = this.#options;
    const [executor] = pool.idle(this.#groupOf(layout.threads).instances);
    if (executor === undefined)
      throw new ServingError('EXECUTOR_CRASHED', `${owner}: an instance died while layouts were timed.`);
    const startMs = nowMs();
    await executor.run(batchOf(shape));
    return nowMs() - startMs;
  }

  /**
   * Ends the trial: the version goes on with this layout, whose instances must be open, and everything else is closed. The
   * reservation is of its size from the moment of this call.
   */
  async settle(layout: Layout): Promise<void> {
    const { bytesOf, pool, reservation } = this.#options;
    for (const { trial } of this.#groups) trial?.release();
    reservation.resize(bytesOf(layout));
    const kept = [...this.#groupOf(layout.threads).instances];
    const lone = layout.lone === undefined ? undefined : this.#groupOf(layout.lone).instances[0];
    if (lone !== undefined) {
      lone.isLone = true;
      lone.loneTokens = layout.loneTokens;
      kept.push(lone);
    }
    try {
      await pool.keep(kept);
    } finally {
      this.#settled.resolve();
    }
  }

  #groupOf(threads: number): Group {
    return this.#groups.find(({ layout }) => layout.threads === threads)!;
  }

  #resident(): Resident {
    return {
      owner: `${this.#options.owner} (on trial)`,
      leases: 0,
      lastUsedMs: 0,
      pinned: false,
      keepAliveMs: -1,
      evict: () => {
        this.#isWanted = true;
        return this.#settled.promise;
      },
    };
  }
}
