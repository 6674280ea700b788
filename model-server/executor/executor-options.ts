import type { Canary } from './canary.ts';
import type { Isolation } from './channel.ts';
import type { InstancePlan, PlaceOption } from './devices.ts';
import type { WorkerOptions } from './protocol.ts';
import type { After } from './timer.ts';

/** What one instance is, and whom it tells. */
export interface WorkerExecutorOptions {
  /** Model, version and instance, for messages. */
  owner: string;
  session: Omit<WorkerOptions, PlaceOption>;
  plan: InstancePlan;
  isolation: Isolation;
  /** Longest that one batch may take; 0: batches and loads may take for ever. */
  watchdogMs: number;
  /** The program of the worker; tests put their own here. */
  worker?: URL | undefined;
  /** For processes: the environment of the child; the server's own when absent. */
  env?: Readonly<Record<string, string>> | undefined;
  after: After;
  /** The known batch to prove the instance with, when there is one. */
  canary: () => Canary | undefined;
  /** Called when it takes work again after it has had to prove itself. */
  onProven: () => void;
  /** Called when a worker that was ready has died or was ended for being unhealthy; its batches have been failed. */
  onCrash: (why: string) => void;
}
