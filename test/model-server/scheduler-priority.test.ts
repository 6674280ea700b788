import { describe, expect, it } from 'vitest';
import type { SchedulerOptions, SubmitOptions } from '../../model-server/scheduler/scheduler-options.ts';
import { input, settle, setUp } from './scheduler-setup.ts';

const MS = 1000;
const roomy = { queue: { maxItems: 10_000, maxTokens: 100_000 } };

function start(instances = 1, override: Partial<SchedulerOptions> = {}) {
  const parts = setUp(instances, { ...roomy, ...override });
  const heads = () => parts.pool.held.map(({ rows }) => rows.map((row) => row[0]));
  const next = async () => {
    parts.pool.held[0]!.succeed();
    await settle();
  };
  const many = (ids: number[], options: SubmitOptions = {}) => ids.map((id) => parts.submit(id, options));
  return { ...parts, heads, next, many };
}

describe('priorities', () => {
  it('go before each other, and never share a batch', async () => {
    const { clock, heads, next, many } = start();
    many([1]);
    clock.tick();
    many([10, 11], { priority: 'bulk' });
    many([20, 21]);
    many([30, 31], { priority: 'interactive' });
    const seen = [];
    for (let i = 0; i < 3; i++) {
      await next();
      seen.push(...heads());
    }
    expect(seen).toEqual([
      [30, 31],
      [20, 21],
      [10, 11],
    ]);
  });

  it('bulk that waits gets a batch a second, however much is more urgent', async () => {
    const { clock, pool, heads, many } = start();
    many([1]);
    clock.tick();
    many([10, 11, 12, 13, 14, 15, 16, 17], { priority: 'bulk' });
    const bulkAtMs: number[] = [];
    for (let ms = 0; ms < 2500; ms += 100) {
      many([20], { priority: 'interactive' });
      clock.advance(100 * MS);
      pool.held[0]!.succeed();
      await settle();
      if (heads()[0]![0]! < 20) bulkAtMs.push(ms + 100);
    }
    expect(bulkAtMs).toEqual([1000, 2000]);
  });

  it('bulk neither fills the queue for others nor is handed over ahead of time', () => {
    const { clock, pool, scheduler, heads, many } = start(1, { queue: { maxItems: 10, maxTokens: 1000 } });
    many([1], { priority: 'bulk' });
    clock.tick();
    pool.prefetchable = true;
    many([2, 3, 4, 5, 6, 7, 8, 9, 10, 11], { priority: 'bulk' });
    clock.tick();
    expect(heads()).toEqual([[1]]);
    expect(() => scheduler.submit([input(12)], { priority: 'bulk' })).toThrowError(
      expect.objectContaining({ reason: 'QUEUE_FULL' }),
    );
    expect(() => scheduler.submit([input(12)], { priority: 'interactive' })).not.toThrow();
    many([20, 21, 22, 23, 24, 25, 26]);
    clock.tick();
    expect(pool.held).toHaveLength(2);
    expect(heads()[1]).toEqual([12]);
  });

  it('a bulk batch is no longer than others may have to wait for', async () => {
    const { clock, pool, scheduler, many } = start(1, { batch: { maxItems: 64, maxTokens: 1000 } });
    const shape = { rows: 1, tokens: 2, length: 2 };
    pool.computeUs = (rows) => 0.8 * MS + 2.1 * MS * rows.length;
    for (let i = 0; i < 20; i++) scheduler.costs.learn(shape, 5 * MS);
    for (let i = 0; i < 20; i++) scheduler.costs.learn({ rows: 10, tokens: 20, length: 2 }, 23.9 * MS);
    many(
      Array.from({ length: 30 }, () => 5),
      { priority: 'bulk' },
    );
    clock.tick();
    // 2.9 ms and 2.1 ms a row.
    expect(pool.held[0]!.batch.rows).toBe(3);
    pool.held[0]!.succeed();
    await settle();
    many(Array.from({ length: 30 }, () => 6));
    pool.held[0]!.succeed();
    await settle();
    expect(pool.held[0]!.batch.rows).toBe(30);
  });
});

describe('tenants', () => {
  it('share an instance, however much one of them has piled up', async () => {
    const { clock, heads, next, many } = start();
    many([1]);
    clock.tick();
    many(
      Array.from({ length: 200 }, () => 10),
      { tenant: 'heavy' },
    );
    const light = many([20, 20, 20, 20], { tenant: 'light' });
    const seen: (number | undefined)[] = [];
    for (let i = 0; i < 3; i++) {
      await next();
      seen.push(...heads().flat());
    }
    expect(seen.filter((id) => id === 20)).toHaveLength(4);
    await next();
    await expect(Promise.all(light)).resolves.toHaveLength(4);
  });
});
