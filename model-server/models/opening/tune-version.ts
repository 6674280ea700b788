import type { InstancePlan } from '../../executor/devices.ts';
import { assemble } from '../../scheduler/assemble.ts';
import type { Tuning, VersionHost } from '../host.ts';
import { layoutText } from '../layout/layout.ts';
import { tuneLayout } from '../layout/tune-layout.ts';
import type { TextParts } from '../loaded.ts';
import type { Reservation } from '../memory/budget.ts';
import type { CpuPlan } from './plan-devices.ts';
import { allFrom, type LayoutPlan } from './plan-layout.ts';
import { PoolBench } from './pool-bench.ts';
import type { Unproved } from './prove-sound.ts';
import { sampleTexts } from './sample-texts.ts';
import { shapesToTime } from './shapes-to-time.ts';

export interface Untuned extends Unproved {
  /** Those that the pool was opened with. */
  instances: readonly InstancePlan[];
  onCpu: CpuPlan;
  /** On the CPU, of the version. */
  reservation: Reservation;
  /** What it took to open the instances. */
  openMs: number;
}

/**
 * Finds the best layout of a version by timing it on its own pool, which nobody else uses yet, and remembers it. Whatever
 * goes wrong, the version goes on with the layout that it began with.
 * @returns the plan that is in force, whose instances are open
 * @throws the reason of the host's signal, when the server stops meanwhile
 */
export async function tuneVersion(untuned: Untuned, host: VersionHost): Promise<LayoutPlan> {
  const { onCpu, text } = untuned;
  const { toTune } = onCpu.plan;
  const { tuning } = host;
  if (toTune === undefined || tuning === undefined || text === undefined) return onCpu.plan;
  const timed = tune({ ...untuned, text, toTune, tuning }, host);
  // For others to wait for, who must not hear of its failure.
  tuning.current = timed.catch(() => undefined);
  return timed;
}

type Tunable = Untuned & { text: TextParts; toTune: NonNullable<LayoutPlan['toTune']>; tuning: Tuning };

async function tune(tunable: Tunable, host: VersionHost): Promise<LayoutPlan> {
  const { owner, onCpu, openMs, toTune, tuning } = tunable;
  const { plan, bytesOf } = onCpu;
  const { log, nowMs } = host;
  const shapes = shapesToTime(tunable.description, host.defaults);
  const bench = await benchOf(tunable, host);
  try {
    const tuned = await tuneLayout({
      workbench: bench,
      candidates: [plan.layout, ...toTune.others],
      shapes,
      tuneMs: tuning.tuneMs,
      openMs,
      nowMs,
      bytesOf,
      // What is timed while others are served would say little, and be at their expense.
      shouldYield: () => host.signal.aborted || bench.isWanted || isServing(host),
    });
    await bench.settle(tuned.layout);
    host.signal.throwIfAborted();
    const { stoppedBy, ...found } = tuned;
    const { layout, evidence } = found;
    const measured = { ...found, date: new Date().toISOString() };
    if (evidence === '') {
      // There may be more time at the next start; within this one it would be lost each time that the model is loaded.
      if (stoppedBy === 'time') tuning.cache.rememberHere(toTune.key, measured);
      log.debug({ owner, stoppedBy }, `layout: ${layoutText(layout)}; others could not be measured`);
      return plan;
    }
    await tuning.cache.remember(toTune.key, measured);
    return { layout, sources: allFrom('measured'), evidence };
  } catch (thrown) {
    await bench.settle(plan.layout);
    host.signal.throwIfAborted();
    log.warn(
      { owner, err: thrown },
      `the best layout could not be measured; ${layoutText(plan.layout)} is used`,
    );
    return plan;
  }
}

async function benchOf(untuned: Tunable, host: VersionHost) {
  const { owner, pool, text, description, reservation, onCpu } = untuned;
  const { plan, instancesOf, bytesOf } = onCpu;
  const { task } = description.config;
  const samples = await sampleTexts(text, task);
  return new PoolBench({
    ...{ owner, pool, reservation, instancesOf, bytesOf },
    base: plan.layout,
    baseInstances: untuned.instances,
    budget: host.budgetOf('cpu'),
    batchOf: ({ rows, length }) => assemble(samples(length, rows)),
    nowMs: host.nowMs,
  });
}

function isServing({ budgets }: VersionHost): boolean {
  return budgets().some((budget) => budget.rows().some(({ leases }) => leases > 0));
}
