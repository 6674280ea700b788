import { afterEach, vi } from 'vitest';
import { cpuInstances } from '../../model-server/executor/devices.ts';
import { Pool, type PoolOptions } from '../../model-server/executor/pool.ts';
import { assemble } from '../../model-server/scheduler/assemble.ts';

const scripted = new URL('../fixtures/workers/scripted.ts', import.meta.url);

/** The known batch of these tests, and what a sound worker answers. */
export const canaryId = 42;

export const batch = (...ids: number[]) =>
  assemble(ids.map((id) => ({ row: { ids: Int32Array.of(id) }, reduction: { kind: 'pooled' } })));

/** Waits until this does not throw; the limit is there for a test that would never end. */
export const eventually = (check: () => void) => vi.waitFor(check, { timeout: 30_000 });

/** How long a thread that hangs is given to release its session. */
export const GRACE_MS = 5000;

/** A timer that runs when the test lets it. */
export interface HeldTimer {
  delayMs: number;
  go: () => void;
}

export type PoolOverride = Partial<Omit<PoolOptions, 'instances'>> & {
  instances?: number;
  modelFile?: string;
};

/** Pools of scripted workers whose timers wait for the test; all are ended after each test. */
export function usePools() {
  const pools: Pool[] = [];
  const timers: HeldTimer[] = [];

  afterEach(async () => {
    const ended = Promise.all(pools.splice(0).map((pool) => pool.destroy()));
    // What still hangs has a grace period, which need not be waited for.
    for (const timer of timers.splice(0)) timer.go();
    await ended;
    timers.length = 0;
  });

  function makePool({ instances = 1, modelFile = 'any', ...options }: PoolOverride = {}): Pool {
    const pool = new Pool({
      owner: 'model m version 1',
      session: { modelFile, intraOpThreads: 1, pooling: 'mean', normalize: true, text: true },
      instances: cpuInstances(instances),
      maxRespawns: 2,
      watchdogMs: 0,
      worker: scripted,
      after(delayMs, go) {
        const timer = { delayMs, go };
        timers.push(timer);
        return () => {
          const at = timers.indexOf(timer);
          if (at >= 0) timers.splice(at, 1);
        };
      },
      ...options,
    });
    pools.push(pool);
    return pool;
  }

  /** Lets the timer of this length run that was set first. */
  function fire(delayMs: number): void {
    const at = timers.findIndex((timer) => timer.delayMs === delayMs);
    if (at < 0)
      throw new Error(`no timer of ${delayMs} ms is set, only ${timers.map((timer) => timer.delayMs)}`);
    timers.splice(at, 1)[0]!.go();
  }

  return { makePool, fire, pending: () => timers.map((timer) => timer.delayMs) };
}
