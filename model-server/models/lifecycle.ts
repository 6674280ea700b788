import { ServingError } from '../errors.ts';
import type { AvailableDevices } from '../executor/devices.ts';
import type { Log } from '../log.ts';
import { EmbeddingCache } from './embedding-cache/embedding-cache.ts';
import { SharedEmbedder } from './embedding-cache/shared-embedder.ts';
import type { ModelDefaults, ModelObserver, Tuning, VersionHost, VersionName } from './host.ts';
import { MemoryBudget, type MemoryBudgetOptions } from './memory/budget.ts';
import { LoadGate } from './memory/measure.ts';
import { RUNTIME_BYTES } from './memory/predict.ts';
import { PressureWatch } from './memory/pressure.ts';
import { type MemoryReading, readMemory } from './memory/read-memory.ts';
import { type ControlMode, type Names, Registry } from './registry.ts';
import { RepositoryWatch, type WatchOptions } from './repository/watch.ts';
import { Serving } from './serving.ts';

export interface LifecycleOptions {
  repository: string;
  mode: ControlMode;
  loadModels: Names;
  preload: Names;
  pollMs: number;
  defaults: ModelDefaults;
  /** Undefined: 80 % of what the machine or its control group has. */
  budgetBytes: number | undefined;
  /** Of each GPU; undefined: not counted. */
  gpuBudgetBytes: number | undefined;
  /** Undefined: 5 % of what the machine or its control group has. */
  floorBytes: number | undefined;
  memoryCheckMs: number;
  /** Resident memory of this process in bytes. */
  residentBytes: () => number;
  /** What models can run on; asked for every load that leaves it open. */
  devices: () => Promise<AvailableDevices>;
  /** Of the processes that instances have of their own; without the server's secrets. */
  childEnv: Readonly<Record<string, string>>;
  /** How layouts are found where nobody names one; absent: nothing is measured. */
  tuning?: Tuning | undefined;
  observe: (version: VersionName) => ModelObserver | undefined;
  /** Told when a model's state has changed, or an instance has come back. */
  onState: () => void;
  /** None when absent. It is the caller's to close. */
  embeddingCache?: EmbeddingCache | undefined;
  log: Log;
  /** Milliseconds on a clock that never goes back; tests drive it by hand. */
  nowMs?: () => number;
  /** How to wait; tests drive it by hand. */
  after?: (delayMs: number, task: () => void) => () => void;
  /** For tests: what memory there is, and when files count as finished. */
  readMemory?: () => MemoryReading;
  watch?: WatchOptions;
}

const BUDGET_SHARE = 0.8;
const FLOOR_SHARE = 0.05;
/** On a large machine a share would keep models out of memory that is free in plenty. */
const MOST_FLOOR_BYTES = 2e9;

/** All that lives as long as the server does: models, memory, and the looks at both from time to time. */
export class Lifecycle {
  readonly registry: Registry;
  readonly serving: Serving;
  readonly host: VersionHost;
  readonly pressure: PressureWatch;
  readonly #options: LifecycleOptions;
  readonly #nowMs: () => number;
  /** Of every device that a model has been planned for; the watch reads it at each look. */
  readonly #budgets: MemoryBudget[] = [];
  readonly #aborting = new AbortController();
  #cancelPoll: (() => void) | undefined;
  #isClosed = false;

  constructor(options: LifecycleOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    const { mode, loadModels, preload, log, residentBytes, observe, onState, devices, defaults } = options;
    const read = options.readMemory ?? readMemory;
    const { totalBytes } = read();
    // The runtime comes with the first model and stays; it is nobody's in particular.
    const baseBytes = residentBytes() + RUNTIME_BYTES;
    const floorBytes = options.floorBytes ?? Math.min(totalBytes * FLOOR_SHARE, MOST_FLOOR_BYTES);
    const limitBytes = options.budgetBytes ?? totalBytes * BUDGET_SHARE;
    const freeBytes = () => read().availableBytes - floorBytes;
    this.#addBudget('cpu', { limitBytes, baseBytes, freeBytes });
    this.host = {
      defaults,
      log,
      nowMs: this.#nowMs,
      observe,
      onState: ({ name, version }, state, reason) => {
        log.info({ model: name, version, state, ...(reason === '' ? {} : { reason }) }, 'model state');
        onState();
      },
      onInstance: onState,
      budgetOf: (device) => this.#budgetOf(device),
      budgets: () => this.#budgets,
      gate: new LoadGate({ residentBytes }),
      devices,
      childEnv: options.childEnv,
      tuning: options.tuning,
      signal: this.#aborting.signal,
    };
    const watch = new RepositoryWatch(options.repository, options.watch);
    this.registry = new Registry({ mode, loadModels, preload, watch, host: this.host, log });
    const cache = options.embeddingCache ?? new EmbeddingCache({ budgetBytes: 0, ttlMs: 0 });
    this.serving = new Serving(this.registry, new SharedEmbedder(cache));
    this.pressure = new PressureWatch({
      read,
      residentOverBytes: () => this.residentBytes - limitBytes,
      budgets: this.#budgets,
      floorBytes,
      intervalMs: options.memoryCheckMs,
      after: options.after ?? systemAfter,
      log: { info: (text) => log.info(text), warn: (text) => log.warn(text) },
    });
  }

  /** Resident memory of the process and of the processes that instances have of their own, in bytes. */
  get residentBytes(): number {
    const versions = this.registry.models.flatMap((model) => model.versions);
    const children = versions.reduce(
      (sum, { version }) => sum + (version.loaded?.pool.residentBytes ?? 0),
      0,
    );
    return this.#options.residentBytes() + children;
  }

  /**
   * Loads what is to be served from the start, and begins to look after it.
   * @returns what failed, is incomplete, or is asked for and not there
   * @throws ServingError MODEL_CONFIG_INVALID when there is no repository, or in mode none no model in it
   */
  async start(): Promise<ServingError[]> {
    // Before the first loads are done: they may take minutes, while what is ready serves already.
    this.#schedulePoll();
    this.pressure.start();
    const failures = await this.registry.look();
    if (this.registry.models.length === 0) this.#tellEmpty();
    return [...failures, ...this.registry.shortcomings];
  }

  /** Finishes what runs and unloads everything. */
  async close(): Promise<void> {
    this.#stopLooking();
    await Promise.all([this.registry.close(), this.pressure.close()]);
  }

  /** Fails what runs, and loads under way, and unloads everything. */
  async destroy(): Promise<void> {
    this.#stopLooking();
    this.#aborting.abort(
      new ServingError('SERVER_STOPPING', 'The server is stopping.', { retryAfterMs: 1000 }),
    );
    await Promise.all([this.registry.destroy(), this.pressure.close()]);
  }

  #tellEmpty(): void {
    const { repository, mode, log } = this.#options;
    const what = `the model repository ${repository} holds no model; one looks like <name>/<version>/model.onnx, for example all-minilm-l6-v2/1/model.onnx.`;
    if (mode === 'none') throw new ServingError('MODEL_CONFIG_INVALID', what);
    log.warn(what);
  }

  #schedulePoll(): void {
    const after = this.#options.after ?? systemAfter;
    this.#cancelPoll = after(this.#options.pollMs, () => {
      void this.#poll().finally(() => {
        if (!this.#isClosed) this.#schedulePoll();
      });
    });
  }

  /** Does not wait for loads: one slow model must not keep the others' changes from being seen. */
  async #poll(): Promise<void> {
    const { log } = this.#options;
    try {
      if (this.#options.mode === 'poll')
        await this.registry.look((failure) => log.error({ reason: failure.reason }, failure.message));
      this.registry.recover();
      await this.registry.reloadRollouts();
    } catch (thrown) {
      // A repository that can't be read for a moment (a network file system) is no reason to stop serving.
      log.error({ err: thrown }, 'the look at the model repository failed; everything stays as it is');
    }
  }

  #stopLooking(): void {
    this.#isClosed = true;
    this.#cancelPoll?.();
  }

  #budgetOf(device: string): MemoryBudget {
    const limitBytes = this.#options.gpuBudgetBytes ?? Number.POSITIVE_INFINITY;
    return (
      this.#budgets.find((budget) => budget.device === device) ??
      this.#addBudget(device, { limitBytes, baseBytes: 0 })
    );
  }

  #addBudget(
    device: string,
    amounts: Pick<MemoryBudgetOptions, 'limitBytes' | 'baseBytes' | 'freeBytes'>,
  ): MemoryBudget {
    const budget = new MemoryBudget({ device, ...amounts, nowMs: this.#nowMs });
    this.#budgets.push(budget);
    return budget;
  }
}

function systemAfter(delayMs: number, task: () => void): () => void {
  const timer = setTimeout(task, delayMs);
  return () => clearTimeout(timer);
}
