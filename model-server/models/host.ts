import type { AvailableDevices } from '../executor/devices.ts';
import type { Log } from '../log.ts';
import type { Admission, SchedulerObserver } from '../scheduler/scheduler-options.ts';
import type { LayoutCache } from './layout/layout-cache.ts';
import type { MemoryBudget } from './memory/budget.ts';
import type { LoadGate } from './memory/measure.ts';
import type { ModelState } from './reports.ts';

/** Server-wide defaults for what a model's config leaves open. */
export interface ModelDefaults {
  instances: number;
  intraOpThreads: number;
  packing: 'auto' | 'off';
  maxBatchItems: number;
  maxBatchTokens: number;
  batchOverheadTokens: number;
  admission: Admission;
  maxQueueItems: number;
  maxQueueTokens: number;
  maxRespawns: number;
  executionProvider: string;
  warmUpMs: number;
  watchdogMs: number;
  keepAliveMs: number;
  /** Which of them the operator has set, so that nothing is measured in their place. */
  fixed?: { instances: boolean; intraOpThreads: boolean } | undefined;
}

/** How the best layout of a model is found where nobody names one. */
export interface Tuning {
  /** Longest that opening and timing layouts may take. */
  tuneMs: number;
  /** Cores to share. */
  cores: number;
  cache: LayoutCache;
  /** Settles when the version that is timed now has been; what can wait should not disturb it. */
  current?: Promise<unknown> | undefined;
}

/** Name and version of what something is told about. */
export interface VersionName {
  name: string;
  version: number;
}

/** Where a model version tells what happens to it, for metrics and the log. */
export interface ModelObserver extends SchedulerObserver {
  crashed(why: string, respawnInMs: number | undefined): void;
  loaded(loadMs: number): void;
  failed(): void;
  evicted(why: string): void;
}

/** What model versions share: defaults, memory, clock, and where they tell what they do. */
export interface VersionHost {
  /** Told of every change of state, once it is in force. */
  onState: (version: VersionName, state: ModelState, reason: string) => void;
  /** Told when an instance takes work again, or has been given up: whether a version is ready may rest on it. */
  onInstance: () => void;
  defaults: ModelDefaults;
  log: Log;
  /** Milliseconds on a clock that never goes back. */
  nowMs: () => number;
  observe: (version: VersionName) => ModelObserver | undefined;
  /** The memory of a device: cpu, or gpu:<index>. */
  budgetOf: (device: string) => MemoryBudget;
  /** Of all devices whose memory is counted. */
  budgets: () => readonly MemoryBudget[];
  gate: LoadGate;
  /** Of the processes that instances have of their own. */
  childEnv: Readonly<Record<string, string>>;
  /** Undefined: nothing is measured. */
  tuning?: Tuning | undefined;
  /** What models can run on; asked once. */
  devices: () => Promise<AvailableDevices>;
  /** Aborted when everything is to end at once; loads under way fail then. */
  signal: AbortSignal;
}
