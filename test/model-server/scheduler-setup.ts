import { Scheduler } from '../../model-server/scheduler/scheduler.ts';
import type { SchedulerOptions } from '../../model-server/scheduler/scheduler-options.ts';
import type { TensorCall } from '../../model-server/scheduler/tensor-call.ts';
import { GatedPool } from './gated-pool.ts';
import { ManualClock } from './manual-clock.ts';
import { fp32 } from './raw-tensors.ts';

const POOLED = { kind: 'pooled' } as const;
export const input = (...ids: number[]) => ({ row: { ids: Int32Array.from(ids) }, reduction: POOLED });

/** A call with one row for each of the values. */
export const call = (
  rows: readonly number[],
  override: Partial<TensorCall> & { width?: number } = {},
): TensorCall => {
  const { width = 2, ...rest } = override;
  const data = rows.flatMap((value) => Array<number>(width).fill(value));
  const inputs = [fp32('x', [rows.length, width], data)];
  return { inputs, outputs: ['y'], rows: rows.length, joinable: true, ...rest };
};

export function setUp(instances = 1, override: Partial<SchedulerOptions> = {}) {
  const clock = new ManualClock();
  const pool = new GatedPool(instances);
  const scheduler = new Scheduler(pool, {
    owner: 'model m version 1',
    batch: { maxItems: 4, maxTokens: 100 },
    overheadTokens: 4,
    queue: { maxItems: 8, maxTokens: 1000 },
    queueDelayUs: 0,
    clock,
    ...override,
  });
  const submit = (id: number, options = {}) => {
    const promise = scheduler.submit([input(id, id)], options)[0]!;
    promise.catch(() => undefined);
    return promise;
  };
  const infer = (...given: Parameters<Scheduler['submitTensors']>) => {
    const promise = scheduler.submitTensors(...given);
    promise.catch(() => undefined);
    return promise;
  };
  return { clock, pool, scheduler, submit, infer };
}

/** Lets promise reactions run; nothing here waits for time. */
export const settle = async () => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};
