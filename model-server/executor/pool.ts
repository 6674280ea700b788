import { ServingError } from '../errors.ts';
import type { BackendInfo, Executor, ExecutorPool, InstanceState } from '../types.ts';
import { WorkerExecutor, type WorkerExecutorOptions } from './executor.ts';

export interface PoolOptions extends Omit<WorkerExecutorOptions, 'onCrash'> {
  instances: number;
  /** Times that one instance is started again within a minute. */
  maxRespawns: number;
  /** For tests: how to wait before a respawn; the returned function cancels. */
  after?: (delayMs: number, task: () => void) => () => void;
  /** Told of every crash and of what is done about it. */
  onCrash?: (what: { owner: string; respawnInMs: number | undefined }) => void;
}

const RESPAWN_WINDOW_MS = 60_000;
const FIRST_RESPAWN_MS = 100;

/** The instances of one model version. A crashed one is started again with growing pauses, but not for ever. */
export class Pool implements ExecutorPool {
  readonly #options: PoolOptions;
  readonly #executors: WorkerExecutor[] = [];
  readonly #listeners: (() => void)[] = [];
  /** When the predecessors of an instance in its place crashed. */
  readonly #crashesMs = new WeakMap<WorkerExecutor, number[]>();
  readonly #pendingRespawns = new Set<() => void>();
  #failure: ServingError | undefined;
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Starts all instances. @throws ServingError MODEL_LOAD_FAILED; then none is left running. */
  async open(): Promise<BackendInfo> {
    for (let i = 0; i < this.#options.instances; i++) this.#executors.push(this.#spawn());
    try {
      const infos = await Promise.all(this.#executors.map((executor) => executor.opened));
      return infos[0]!;
    } catch (error) {
      await this.destroy();
      throw error;
    }
  }

  get free(): number {
    return this.#executors.reduce((sum, executor) => sum + (executor.idle ? 1 : 0), 0);
  }

  get failure(): ServingError | undefined {
    return this.#failure;
  }

  get states(): InstanceState[] {
    return this.#executors.map((executor) => executor.state);
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  take(): Executor | undefined {
    return this.#executors.find((executor) => executor.idle);
  }

  prefetch(): Executor | undefined {
    if (this.#executors.some((executor) => executor.batches > 1)) return undefined;
    const busy = this.#executors.filter((executor) => executor.batches === 1);
    return busy.sort((a, b) => a.startedMs - b.startedMs)[0];
  }

  /** Finishes what runs and releases every instance. */
  async close(): Promise<void> {
    this.#stopRespawns();
    await Promise.all(this.#executors.map((executor) => executor.close()));
  }

  /** Ends every instance at once. */
  async destroy(): Promise<void> {
    this.#stopRespawns();
    await Promise.all(this.#executors.map((executor) => executor.destroy()));
  }

  #stopRespawns(): void {
    this.#closed = true;
    for (const cancel of this.#pendingRespawns) cancel();
    this.#pendingRespawns.clear();
  }

  #spawn(): WorkerExecutor {
    const executor = new WorkerExecutor({ ...this.#options, onCrash: (crashed) => this.#respawn(crashed) });
    // Who waits for it hears of a failure through `open` or `respawn`.
    executor.opened.catch(() => undefined);
    return executor;
  }

  #respawn(crashed: WorkerExecutor): void {
    if (this.#closed) return;
    const nowMs = Date.now();
    const before = this.#crashesMs.get(crashed) ?? [];
    const crashesMs = [...before.filter((crashMs) => crashMs > nowMs - RESPAWN_WINDOW_MS), nowMs];
    if (crashesMs.length > this.#options.maxRespawns) {
      this.#options.onCrash?.({ owner: this.#options.owner, respawnInMs: undefined });
      this.#giveUp(crashed);
      return;
    }
    const delayMs = FIRST_RESPAWN_MS * 2 ** (crashesMs.length - 1);
    this.#options.onCrash?.({ owner: this.#options.owner, respawnInMs: delayMs });
    const after = this.#options.after ?? systemAfter;
    const cancel = after(delayMs, () => {
      this.#pendingRespawns.delete(cancel);
      this.#replace(crashed, crashesMs);
    });
    this.#pendingRespawns.add(cancel);
  }

  #replace(crashed: WorkerExecutor, crashesMs: number[]): void {
    const next = this.#spawn();
    this.#crashesMs.set(next, crashesMs);
    this.#executors.splice(this.#executors.indexOf(crashed), 1, next);
    next.opened.then(
      () => this.#tell(),
      () => this.#respawn(next),
    );
  }

  #giveUp(crashed: WorkerExecutor): void {
    this.#executors.splice(this.#executors.indexOf(crashed), 1);
    if (this.#executors.length > 0) return;
    this.#failure = new ServingError(
      'BACKEND_UNAVAILABLE',
      `${this.#options.owner}: every instance crashed more than ${this.#options.maxRespawns} times within a minute and was not started again. Restart the server, and see its log for the cause.`,
    );
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

function systemAfter(delayMs: number, task: () => void): () => void {
  const timer = setTimeout(task, delayMs);
  return () => clearTimeout(timer);
}
