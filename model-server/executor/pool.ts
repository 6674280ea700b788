import { ServingError } from '../errors.ts';
import type { BackendInfo, Batch, BatchResult, Executor, ExecutorPool, InstanceState } from '../types.ts';
import type { Canary } from './canary.ts';
import type { Isolation } from './channel.ts';
import type { InstancePlan, PlaceOption } from './devices.ts';
import { WorkerExecutor } from './executor.ts';
import type { WorkerOptions } from './protocol.ts';
import { type After, systemAfter } from './timer.ts';

export interface PoolOptions {
  /** Model and version, for messages. */
  owner: string;
  /** What every instance opens, and how. */
  session: Omit<WorkerOptions, PlaceOption>;
  /** Where each instance runs. */
  instances: readonly InstancePlan[];
  /** `thread` when absent; some execution providers need processes in any case. */
  isolation?: Isolation | undefined;
  /** For processes: the environment of the children; the server's own when absent. */
  env?: Readonly<Record<string, string>> | undefined;
  /** Longest that one batch may take before its instance is held for dead; 0 for ever. */
  watchdogMs: number;
  /** Times that one instance is started again within a minute. */
  maxRespawns: number;
  /** The program of the workers; tests put their own here. */
  worker?: URL | undefined;
  /** For tests: timers. */
  after?: After | undefined;
  /** Told of every crash and of what is done about it. */
  onCrash?: ((what: { owner: string; why: string; respawnInMs: number | undefined }) => void) | undefined;
}

const RESPAWN_WINDOW_MS = 60_000;
const FIRST_RESPAWN_MS = 100;
/** Requests wait for the instance that comes back. */
const LONGEST_RESPAWN_MS = 5000;

const works = (executor: WorkerExecutor) => executor.idle || executor.busy;

/** The instances of one model version. A crashed one is started again with growing pauses, but not for ever. */
export class Pool implements ExecutorPool {
  readonly #options: PoolOptions;
  readonly #after: After;
  readonly #executors: WorkerExecutor[] = [];
  readonly #listeners: (() => void)[] = [];
  /** When the predecessors of an instance in its place crashed. */
  readonly #crashesMs = new WeakMap<WorkerExecutor, number[]>();
  readonly #pendingRespawns = new Set<() => void>();
  #canary: Canary | undefined;
  #failure: ServingError | undefined;
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#after = options.after ?? systemAfter;
  }

  /** Starts all instances. @throws ServingError MODEL_LOAD_FAILED; then none is left running. */
  async open(): Promise<BackendInfo> {
    try {
      const [info] = await Promise.all(this.#start(this.#options.instances).map(({ opened }) => opened));
      return info!;
    } catch (error) {
      await this.destroy();
      throw error;
    }
  }

  /**
   * Starts more instances beside those that are there; like one that is started again, each passes the canary first.
   * @throws ServingError MODEL_LOAD_FAILED; then none of them is left running
   */
  async add(plans: readonly InstancePlan[]): Promise<void> {
    const added = this.#start(plans);
    try {
      await Promise.all(added.map(({ opened }) => opened));
    } catch (error) {
      await this.#drop(added, (executor) => executor.destroy());
      throw error;
    }
  }

  /** Closes all instances but those of these plans, which are told apart by identity. */
  async keep(plans: readonly InstancePlan[]): Promise<void> {
    const others = this.#executors.filter(({ plan }) => !plans.includes(plan));
    await this.#drop(others, (executor) => executor.close());
  }

  /** The instances that take work now, those for lone requests included; only those of the given plans, if any are given. */
  idle(plans?: readonly InstancePlan[]): Executor[] {
    return this.#executors.filter(
      (executor) => executor.idle && (plans === undefined || plans.includes(executor.plan)),
    );
  }

  get free(): number {
    return this.#forLoad().reduce((sum, executor) => sum + (executor.idle ? 1 : 0), 0);
  }

  get loneTokens(): number {
    return this.#executors.find((executor) => executor.isLone)?.plan.loneTokens ?? 0;
  }

  get failure(): ServingError | undefined {
    return this.#failure;
  }

  get states(): InstanceState[] {
    return this.#executors.map((executor) => executor.state);
  }

  /** Whether at least one instance works. */
  get healthy(): boolean {
    return this.#executors.some(works);
  }

  /** Resident memory of the instances' own processes, as of their last answers; undefined for threads. */
  get residentBytes(): number | undefined {
    const processes = this.#executors.filter((executor) => executor.state.isolation === 'process');
    if (processes.length === 0) return undefined;
    return processes.reduce((sum, executor) => sum + (executor.residentBytes ?? 0), 0);
  }

  /**
   * From now on an instance that is under suspicion, or has been started again, runs this batch before it takes work.
   * @param batch as it would be run; it is copied each time
   * @param expected what a sound instance gives
   */
  setCanary(batch: Batch, expected?: BatchResult): void {
    this.#canary = { batch, expected };
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  take(isAlone = false): Executor | undefined {
    if (isAlone && !this.#executors.some((executor) => executor.busy)) {
      const lone = this.#executors.find((executor) => executor.isLone && executor.idle);
      if (lone !== undefined) return lone;
    }
    return this.#forLoad().find((executor) => executor.idle);
  }

  prefetch(): Executor | undefined {
    if (this.#executors.some((executor) => executor.batches > 1)) return undefined;
    const busy = this.#forLoad().filter(
      (executor) => executor.busy && executor.batches === 1 && !executor.proving,
    );
    return busy.sort((a, b) => a.startedMs - b.startedMs)[0];
  }

  /** Finishes what runs and releases every instance. */
  async close(): Promise<void> {
    this.#stopRespawns();
    await Promise.all(this.#executors.map((executor) => executor.close()));
  }

  /** Fails what runs and ends every instance. */
  async destroy(): Promise<void> {
    this.#stopRespawns();
    await Promise.all(this.#executors.map((executor) => executor.destroy()));
  }

  /** Where load goes: the narrow instances, or whatever works when none of them does. */
  #forLoad(): WorkerExecutor[] {
    const narrow = this.#executors.filter((executor) => !executor.isLone);
    return narrow.some(works) ? narrow : this.#executors;
  }

  async #drop(
    executors: readonly WorkerExecutor[],
    end: (executor: WorkerExecutor) => Promise<void>,
  ): Promise<void> {
    for (const executor of executors) this.#executors.splice(this.#executors.indexOf(executor), 1);
    await Promise.all(executors.map(end));
  }

  #stopRespawns(): void {
    this.#closed = true;
    for (const cancel of this.#pendingRespawns) cancel();
    this.#pendingRespawns.clear();
  }

  #start(plans: readonly InstancePlan[]): WorkerExecutor[] {
    const started = plans.map((plan) => this.#spawn(plan));
    this.#executors.push(...started);
    return started;
  }

  #spawn(plan: InstancePlan): WorkerExecutor {
    const { owner, session, env, watchdogMs, worker } = this.#options;
    const isolation = plan.isolation ?? this.#options.isolation ?? 'thread';
    const executor: WorkerExecutor = new WorkerExecutor({
      ...{ owner, session, isolation, env, watchdogMs, worker, plan },
      after: this.#after,
      canary: () => this.#canary,
      onProven: () => this.#tell(),
      onCrash: (why) => this.#respawn(executor, why),
    });
    // Who waits for it hears of a failure through `open` or `respawn`.
    executor.opened.catch(() => undefined);
    return executor;
  }

  #respawn(crashed: WorkerExecutor, why: string): void {
    if (this.#closed) return;
    const { owner, maxRespawns, onCrash } = this.#options;
    const nowMs = Date.now();
    const before = this.#crashesMs.get(crashed) ?? [];
    const crashesMs = [...before.filter((crashMs) => crashMs > nowMs - RESPAWN_WINDOW_MS), nowMs];
    if (crashesMs.length > maxRespawns) {
      onCrash?.({ owner, why, respawnInMs: undefined });
      this.#giveUp(crashed);
      return;
    }
    const delayMs = Math.min(FIRST_RESPAWN_MS * 2 ** (crashesMs.length - 1), LONGEST_RESPAWN_MS);
    onCrash?.({ owner, why, respawnInMs: delayMs });
    const cancel = this.#after(delayMs, () => {
      this.#pendingRespawns.delete(cancel);
      this.#replace(crashed, crashesMs);
    });
    this.#pendingRespawns.add(cancel);
  }

  #replace(crashed: WorkerExecutor, crashesMs: number[]): void {
    // It may have been dropped meanwhile.
    if (!this.#executors.includes(crashed)) return;
    const next = this.#spawn(crashed.plan);
    this.#crashesMs.set(next, crashesMs);
    this.#executors.splice(this.#executors.indexOf(crashed), 1, next);
    next.opened.then(
      () => this.#tell(),
      (error: Error) => this.#respawn(next, error.message),
    );
  }

  #giveUp(crashed: WorkerExecutor): void {
    this.#executors.splice(this.#executors.indexOf(crashed), 1);
    if (this.#executors.length > 0) return;
    this.#failure = new ServingError(
      'BACKEND_UNAVAILABLE',
      `${this.#options.owner}: every instance crashed more than ${this.#options.maxRespawns} times within a minute and was not started again. Reload the model, and see the server's log for the cause.`,
    );
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}
