import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { cpuInstances } from '../../model-server/executor/devices.ts';
import { type Layout, layoutsFor } from '../../model-server/models/layout/layout.ts';
import { tuneLayout } from '../../model-server/models/layout/tune-layout.ts';
import { MemoryBudget } from '../../model-server/models/memory/budget.ts';
import type { Resident } from '../../model-server/models/memory/ledger.ts';
import { PoolBench } from '../../model-server/models/opening/pool-bench.ts';
import { batch, eventually, usePools } from './pool-setup.ts';

const { makePool } = usePools();
const PER_INSTANCE = 10;
const bytesOf = ({ instances, lone }: Layout) => PER_INSTANCE * (instances + (lone === undefined ? 0 : 1));
const resident = (more: Partial<Resident> = {}): Resident => ({
  owner: 'model m version 1',
  leases: 0,
  lastUsedMs: 0,
  pinned: true,
  keepAliveMs: -1,
  evict: () => Promise.resolve(),
  ...more,
});

interface SetUp {
  cores?: number;
  limitBytes: number;
  nowMs?: () => number;
}

/** A version whose first layout is open, on a device of some bytes. */
async function setUp({ cores = 4, limitBytes, nowMs = () => performance.now() }: SetUp) {
  const budget = new MemoryBudget({ device: 'cpu', limitBytes, baseBytes: 0, nowMs: () => 1000 });
  const [base, ...others] = layoutsFor(cores);
  const reservation = await budget.reserve(resident(), bytesOf(base!));
  const pool = makePool({ instances: 0 });
  await pool.open();
  const instancesOf = ({ instances, threads }: Layout) =>
    cpuInstances(instances).map((plan) => ({ ...plan, threads }));
  const baseInstances = instancesOf(base!);
  await pool.add(baseInstances);
  const bench = new PoolBench({
    ...{ pool, budget, reservation, instancesOf, bytesOf, nowMs, baseInstances },
    owner: 'model m version 1',
    base: base!,
    batchOf: ({ rows }) => batch(...new Array<number>(rows).fill(5)),
  });
  const threads = () => pool.states.map((state) => state.threads).sort((a, b) => a - b);
  return { budget, reservation, pool, bench, base: base!, others, threads };
}

const shape = { rows: 2, length: 1 };
const wide = { instances: 1, threads: 4 };

describe('layouts on trial', () => {
  it('run on instances of their own, and one of them may stay for lone requests', async () => {
    const { bench, pool, budget, reservation, threads } = await setUp({ limitBytes: 60 });
    expect(await bench.open(wide)).toBe(true);
    expect(budget.usedBytes).toBe(50);
    expect(threads()).toEqual([1, 1, 1, 1, 4]);
    expect(await bench.saturate(wide, shape)).toBeGreaterThan(0);
    expect(await bench.alone(wide, shape)).toBeGreaterThan(0);
    await bench.settle({ instances: 4, threads: 1, lone: 4 });
    expect(reservation.predictedBytes).toBe(50);
    expect(budget.rows()).toMatchObject([{ owner: 'model m version 1', predictedBytes: 50 }]);
    expect(pool.free).toBe(4);
    expect(pool.take(true)).toMatchObject({ isLone: true });
  });

  it('may take the place of the first one', async () => {
    const { bench, pool, reservation, threads } = await setUp({ limitBytes: 60 });
    await bench.open(wide);
    await bench.settle(wide);
    expect(threads()).toEqual([4]);
    expect(reservation.predictedBytes).toBe(10);
    expect(pool.take()).toMatchObject({ isLone: false });
  });

  it('count each instance by its own time', async () => {
    let nowMs = 0;
    const { bench, base } = await setUp({ limitBytes: 60, nowMs: () => nowMs });
    const rate = bench.saturate(base, shape);
    nowMs += 500;
    // Four instances, two texts each, in half a second.
    expect(await rate).toBeCloseTo(16);
  });

  it('are not opened where there is no room, and nobody has to go for them', async () => {
    const { bench, budget, threads } = await setUp({ limitBytes: 55 });
    const evict = vi.fn(async () => undefined);
    const idle = await budget.reserve(resident({ pinned: false, evict }), 10);
    idle.settle(10);
    expect(await bench.open(wide)).toBe(false);
    expect(evict).not.toHaveBeenCalled();
    expect(threads()).toEqual([1, 1, 1, 1]);
  });

  it('give way to who needs their room, which waits until it is back', async () => {
    const { bench, budget, base, pool, threads } = await setUp({ limitBytes: 55 });
    await bench.open(wide);
    expect(bench.isWanted).toBe(false);
    let isIn = false;
    const other = budget.reserve(resident({ owner: 'model n version 1' }), 10).then(() => {
      isIn = true;
      expect(threads()).toEqual([1, 1, 1, 1]);
    });
    await eventually(() => expect(bench.isWanted).toBe(true));
    expect(isIn).toBe(false);
    // Whoever waits comes first, also while it is not in yet.
    expect(await bench.open({ instances: 2, threads: 2 })).toBe(false);
    await bench.settle(base);
    await other;
    expect(pool.free).toBe(4);
    expect(budget.usedBytes).toBe(50);
  });

  it('do not outlive an instance that dies: that is a failure, and the first layout is there', async () => {
    const { bench, pool, base, budget, threads } = await setUp({ limitBytes: 60 });
    await bench.open(wide);
    const instance = pool.idle().at(-1);
    await expect(instance!.run(batch(666))).rejects.toThrow();
    await expect(bench.saturate(wide, shape)).rejects.toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    await expect(bench.alone(wide, shape)).rejects.toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    await bench.settle(base);
    expect(threads()).toEqual([1, 1, 1, 1]);
    expect(budget.usedBytes).toBe(40);
  });
});

it('whatever the timings and the budget, the version ends within both, with the instances of what was chosen', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(1, 2, 3, 4),
      fc.integer({ min: 0, max: 80 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 50 })),
      async (cores, freeBytes, steps) => {
        let nowMs = 0;
        const tick = () => {
          nowMs += steps.next().value!;
          return nowMs;
        };
        const limitBytes = cores * PER_INSTANCE + freeBytes;
        const { bench, budget, base, others, reservation, threads, pool } = await setUp({
          cores,
          limitBytes,
          nowMs: tick,
        });
        const shouldYield = () => {
          expect(budget.usedBytes).toBeLessThanOrEqual(limitBytes);
          return bench.isWanted;
        };
        const { layout } = await tuneLayout({
          ...{
            workbench: bench,
            candidates: [base, ...others],
            shapes: [shape, shape],
            nowMs: tick,
            bytesOf,
          },
          ...{ tuneMs: 100_000, openMs: 0, shouldYield },
        });
        await bench.settle(layout);
        expect(reservation.predictedBytes).toBe(bytesOf(layout));
        expect(budget.usedBytes).toBe(bytesOf(layout));
        expect(budget.usedBytes).toBeLessThanOrEqual(limitBytes);
        const expected = [
          ...new Array<number>(layout.instances).fill(layout.threads),
          ...(layout.lone ? [layout.lone] : []),
        ];
        expect(threads()).toEqual(expected.sort((a, b) => a - b));
        expect(pool.free).toBe(layout.instances);
        await pool.destroy();
      },
    ),
    { numRuns: 15 },
  );
});
