import { pino } from 'pino';
import { Admin } from '../../model-server/models/admin.ts';
import type { ModelDefaults } from '../../model-server/models/host.ts';
import { Lifecycle, type LifecycleOptions } from '../../model-server/models/lifecycle.ts';
import type { Target } from '../../model-server/models/target.ts';
import { defaults } from './repository.ts';

/** What a test may see and do of a running lifecycle. */
export interface Harness {
  lifecycle: Lifecycle;
  admin: Admin;
  /** What failed at the start. */
  failures: Awaited<ReturnType<Lifecycle['start']>>;
  /** Owners of versions in the order in which they were loaded, once for each load. */
  loads: string[];
  evictions: string[];
  /** One look at the repository, until all that it led to is done. */
  look(): Promise<void>;
  /** One look at memory. */
  checkMemory(): Promise<void>;
  /** State by `name/version`. */
  states(): Record<string, string>;
  [Symbol.asyncDispose](): Promise<void>;
}

export type HarnessOptions = Partial<Omit<LifecycleOptions, 'defaults'>> & { defaults?: Partial<ModelDefaults> };

/**
 * The models of a repository with real workers, but without timers: looks at the repository and at memory happen when the
 * test says so. Files count as finished as soon as they are complete, unless a test wants otherwise.
 */
export async function startLifecycle(repository: string, options: HarnessOptions = {}): Promise<Harness> {
  const loads: string[] = [];
  const evictions: string[] = [];
  const lifecycle = new Lifecycle({
    mode: 'poll',
    loadModels: new Set(),
    preload: 'all',
    pollMs: 1000,
    budgetBytes: undefined,
    gpuBudgetBytes: undefined,
    floorBytes: 0,
    memoryCheckMs: 1000,
    residentBytes: () => process.memoryUsage.rss(),
    devices: () => Promise.resolve({ providers: ['cpu'], missing: [], gpus: 0 }),
    onState: () => undefined,
    observe: ({ name, version }) => ({
      itemQueued: () => undefined,
      batchDone: () => undefined,
      crashed: () => undefined,
      loaded: () => void loads.push(`${name}/${version}`),
      failed: () => undefined,
      evicted: () => void evictions.push(`${name}/${version}`),
    }),
    log: pino({ level: 'silent' }),
    after: () => () => undefined,
    watch: { quietMs: 0 },
    ...options,
    repository,
    defaults: { ...defaults, instances: 1, ...options.defaults },
  });
  const failures = await lifecycle.start();
  const admin = new Admin({ lifecycle, strictReadiness: true, onReadiness: () => undefined });
  return {
    lifecycle,
    admin,
    failures,
    loads,
    evictions,
    async look() {
      await lifecycle.registry.look();
    },
    checkMemory: () => lifecycle.pressure.check(),
    states: () =>
      Object.fromEntries(admin.list().map(({ name, version, state }) => [`${name}/${version}`, state])),
    async [Symbol.asyncDispose]() {
      await lifecycle.destroy();
      await admin.close();
    },
  };
}

/** A request to a model, as the api makes it. */
export function target(model: string, more: Partial<Target> = {}): Target {
  return { model, version: 0, alias: '', task: 'embed', expectSpace: '', stickyKey: '', ...more };
}
