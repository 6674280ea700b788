import { describe, expect, it } from 'vitest';
import { cpuInstances, type InstancePlan } from '../../model-server/executor/devices.ts';
import type { Pool } from '../../model-server/executor/pool.ts';
import { batch, eventually, usePools } from './pool-setup.ts';

const { makePool, fire, pending } = usePools();
const widePlan = (more: Partial<InstancePlan> = {}): InstancePlan => ({
  ...cpuInstances(1)[0]!,
  threads: 4,
  ...more,
});

/** Narrow instances, and one for lone requests. */
async function openWithLone(narrow: number, options: Parameters<typeof makePool>[0] = {}): Promise<Pool> {
  const pool = makePool({ instances: narrow, ...options });
  await pool.open();
  await pool.add([widePlan({ isLone: true, loneTokens: 30 })]);
  return pool;
}

const dies = (pool: Pool) =>
  expect(pool.take()!.run(batch(666))).rejects.toMatchObject({ reason: 'EXECUTOR_CRASHED' });

describe('an instance for lone requests', () => {
  it('is given out to a lone request only, and counts in no figure about load', async () => {
    const pool = await openWithLone(2);
    expect(pool.states.map(({ threads }) => threads)).toEqual([1, 1, 4]);
    expect(pool.free).toBe(2);
    expect(pool.loneTokens).toBe(30);
    expect(pool.take()!.isLone).toBe(false);
    const lone = pool.take(true)!;
    expect(lone.isLone).toBe(true);
    const running = lone.run(batch(5));
    expect(pool.free).toBe(2);
    expect(pool.prefetch()).toBeUndefined();
    expect(pool.take(true)!.isLone).toBe(false);
    expect((await running).outputs[0]![0]).toBe(5);
  });

  it('is not given out while another works, whoever says that it is alone', async () => {
    const pool = await openWithLone(2);
    const running = pool.take()!.run(batch(5));
    expect(pool.take(true)!.isLone).toBe(false);
    await running;
    expect(pool.take(true)!.isLone).toBe(true);
  });

  it('takes what there is when no other works, and steps back when one does', async () => {
    const pool = await openWithLone(1);
    await dies(pool);
    expect(pool.healthy).toBe(true);
    expect(pool.free).toBe(1);
    expect(pool.take()!.isLone).toBe(true);
    fire(100);
    await eventually(() => expect(pool.take()!.isLone).toBe(false));
    expect(pool.free).toBe(1);
  });

  it('keeps the pool alive when the others are given up', async () => {
    const pool = await openWithLone(1, { maxRespawns: 0 });
    await dies(pool);
    expect(pool.failure).toBeUndefined();
    expect((await pool.take()!.run(batch(5))).outputs[0]![0]).toBe(5);
  });

  it('that is given up itself leaves lone requests to the others', async () => {
    const pool = await openWithLone(1, { maxRespawns: 0 });
    await expect(pool.take(true)!.run(batch(666))).rejects.toThrow();
    expect(pool.states).toHaveLength(1);
    expect(pool.take(true)!.isLone).toBe(false);
  });
});

describe('instances that come and go while a pool is open', () => {
  it('are closed when they are not kept, and those that stay go on', async () => {
    const pool = makePool({ instances: 1 });
    await pool.open();
    const narrow = pool.take()!;
    const pair = [widePlan(), widePlan()];
    await pool.add(pair);
    expect(pool.idle(pair)).toHaveLength(2);
    await pool.keep([pair[0]!]);
    expect(pool.states).toMatchObject([{ threads: 4, state: 'idle' }]);
    await expect(narrow.run(batch(5))).rejects.toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    expect((await pool.take()!.run(batch(5))).outputs[0]![0]).toBe(5);
  });

  it('that can not be started are a failure of their own', async () => {
    const env: Record<string, string> = {};
    const pool = makePool({ isolation: 'process', env });
    await pool.open();
    env.HUGE = 'x'.repeat(16 * 2 ** 20);
    await expect(pool.add([widePlan()])).rejects.toMatchObject({ reason: 'MODEL_LOAD_FAILED' });
    expect(pool.states).toHaveLength(1);
    expect((await pool.take()!.run(batch(5))).outputs[0]![0]).toBe(5);
  });

  it('that pass no canary are a failure too', async () => {
    const pool = makePool();
    await pool.open();
    pool.setCanary(batch(99));
    await expect(pool.add([widePlan()])).rejects.toThrow(/not finite/);
    expect(pool.free).toBe(1);
  });

  it('that have been let go are not started again', async () => {
    const pool = makePool({ instances: 0 });
    await pool.open();
    const [kept, gone] = [widePlan(), widePlan()];
    await pool.add([kept, gone]);
    await expect(pool.idle([gone])[0]!.run(batch(666))).rejects.toThrow();
    await pool.keep([kept]);
    fire(100);
    expect(pending()).toEqual([]);
    expect(pool.states).toHaveLength(1);
  });
});
