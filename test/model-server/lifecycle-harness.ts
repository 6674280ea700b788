import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { childEnvironment } from '../../model-server/executor/child-environment.ts';
import { Admin } from '../../model-server/models/admin.ts';
import type { ModelDefaults } from '../../model-server/models/host.ts';
import { Lifecycle, type LifecycleOptions } from '../../model-server/models/lifecycle.ts';
import type { Target } from '../../model-server/models/target.ts';
import { type TextEncoderOptions, textEncoder } from './onnx-writer.ts';
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
  /** Every change of state as `name/version state`, in order. */
  history: string[];
  /** One look at the repository, until all that it led to is done. */
  look(): Promise<void>;
  /** Two looks, after which new files have settled and what is gone has been given up. */
  settle(): Promise<void>;
  /** One look at memory. */
  checkMemory(): Promise<void>;
  /** State by `name/version`. */
  states(): Record<string, string>;
  [Symbol.asyncDispose](): Promise<void>;
}

export type HarnessOptions = Partial<Omit<LifecycleOptions, 'defaults'>> & {
  defaults?: Partial<ModelDefaults>;
};

/**
 * The models of a repository with real workers, but without timers: looks at the repository and at memory happen when the
 * test says so. Files count as finished as soon as they are complete, unless a test wants otherwise.
 */
export async function startLifecycle(repository: string, options: HarnessOptions = {}): Promise<Harness> {
  const loads: string[] = [];
  const evictions: string[] = [];
  const history: string[] = [];
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
    childEnv: childEnvironment(process.env),
    onState: () => undefined,
    observe: ({ name, version }) => ({
      itemQueued: () => undefined,
      batchDone: () => undefined,
      crashed: () => undefined,
      loaded: () => void loads.push(`${name}/${version}`),
      failed: () => undefined,
      evicted: () => void evictions.push(`${name}/${version}`),
    }),
    log: pino({ level: 'info' }, { write: (line) => void noteState(line, history) }),
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
    history,
    async look() {
      await lifecycle.registry.look();
    },
    async settle() {
      await lifecycle.registry.look();
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

/** Writes the model file of another version beside the files that all versions of a model share. */
export function addVersion(folder: string, version: number, options: TextEncoderOptions = {}): void {
  mkdirSync(join(folder, `${version}`), { recursive: true });
  writeFileSync(join(folder, `${version}`, 'model.onnx'), textEncoder(options));
}

function noteState(line: string, history: string[]): void {
  const { msg, model, version, state } = JSON.parse(line);
  if (msg === 'model state') history.push(`${model}/${version} ${state}`);
}

/** A request to a model, as the api makes it. */
export function target(model: string, more: Partial<Target> = {}): Target {
  return { model, version: 0, alias: '', task: 'embed', expectSpace: '', stickyKey: '', ...more };
}

/** What callers saw who asked without a pause until they were stopped. */
export interface Traffic {
  /** Versions that answered, in order. */
  versions: number[];
  failures: unknown[];
  /** Resolves when every caller has had an answer to a question that it asked after this call. */
  oneMoreRound(): Promise<void>;
  stop(): Promise<void>;
}

/** Callers who embed one text after the other. */
export function keepAsking({ lifecycle }: Harness, model: string, callers = 4): Traffic {
  const versions: number[] = [];
  const failures: unknown[] = [];
  const rounds = new Array<number>(callers).fill(0);
  let onRound = () => {};
  let isStopped = false;
  const ask = async (caller: number) => {
    while (!isStopped) {
      try {
        const text = `text ${rounds[caller]}`;
        const { ref } = await lifecycle.serving.embed(target(model), [text], { truncate: 'end' });
        versions.push(ref.version);
      } catch (failure) {
        failures.push(failure);
        isStopped = true;
      }
      rounds[caller]!++;
      onRound();
    }
  };
  const asking = rounds.map((_, caller) => ask(caller));
  return {
    versions,
    failures,
    async oneMoreRound() {
      const goals = rounds.map((round) => round + 2);
      await new Promise<void>((resolve) => {
        onRound = () => {
          if (isStopped || rounds.every((round, caller) => round >= goals[caller]!)) resolve();
        };
        onRound();
      });
    },
    async stop() {
      isStopped = true;
      await Promise.all(asking);
    },
  };
}
