import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FairQueue } from '../../model-server/scheduler/fair-queue.ts';

interface Entry {
  tenant: string;
  weight: number;
  at: number;
}

let arrivals = 0;
const entry = (tenant: string, weight = 10): Entry => ({ tenant, weight, at: arrivals++ });
const fill = (queue: FairQueue<Entry>, tenant: string, count: number, weight = 10) => {
  for (let i = 0; i < count; i++) queue.push(entry(tenant, weight));
};
/** Forms a batch as a scheduler would: the next one and the first few of its company. */
const serve = (queue: FairQueue<Entry>, rows: number): Entry[] => {
  const batch = queue.window(64).slice(0, rows);
  queue.give(batch);
  return batch;
};

describe('a fair queue', () => {
  it('serves one tenant in order of arrival', () => {
    const queue = new FairQueue<Entry>();
    fill(queue, 'a', 20);
    const order = Array.from({ length: 20 }, () => serve(queue, 1)[0]!.at);
    expect(order).toEqual(order.toSorted((x, y) => x - y));
  });

  it('lets a newcomer pass what another tenant has piled up', () => {
    const queue = new FairQueue<Entry>();
    fill(queue, 'heavy', 1000);
    for (let i = 0; i < 3; i++) serve(queue, 8);
    fill(queue, 'light', 1);
    const batches = Array.from({ length: 2 }, () => serve(queue, 8));
    expect(batches.flat().some(({ tenant }) => tenant === 'light')).toBe(true);
  });

  it('gives nobody credit for having been away', () => {
    const queue = new FairQueue<Entry>();
    fill(queue, 'steady', 4000);
    fill(queue, 'guest', 1);
    for (let i = 0; i < 300; i++) serve(queue, 8);
    fill(queue, 'guest', 1000);
    const served = Array.from({ length: 40 }, () => serve(queue, 8)).flat();
    const guests = served.filter(({ tenant }) => tenant === 'guest').length;
    expect(guests).toBeGreaterThan(served.length * 0.3);
    expect(guests).toBeLessThan(served.length * 0.7);
  });

  it('divides tokens, not items, among those that wait all the time', () => {
    const queue = new FairQueue<Entry>();
    fill(queue, 'long', 2000, 100);
    fill(queue, 'short', 20_000, 10);
    const given = { long: 0, short: 0 };
    for (let i = 0; i < 1000; i++)
      for (const { tenant, weight } of serve(queue, 4)) given[tenant as 'long' | 'short'] += weight;
    expect(given.short / given.long).toBeGreaterThan(0.6);
    expect(given.short / given.long).toBeLessThan(1.7);
  });

  it('keeps nobody waiting for ever, whatever comes later and whoever takes company along', () => {
    const tenants = fc.constantFrom('a', 'b', 'c');
    const arrival = fc.tuple(tenants, fc.integer({ min: 1, max: 300 }));
    fc.assert(
      fc.property(
        fc.array(arrival, { minLength: 1, maxLength: 60 }),
        fc.array(arrival, { minLength: 1 }),
        (first, later) => {
          const queue = new FairQueue<Entry>();
          const early = first.map(([tenant, weight]) => entry(tenant, weight));
          for (const item of early) queue.push(item);
          const waiting = new Set(early);
          // As unkind as a batch policy can be: it never takes an early one along, only as the next one.
          for (let turn = 0; turn < early.length * 8; turn++) {
            const [tenant, weight] = later[turn % later.length]!;
            for (let i = 0; i < 3; i++) queue.push(entry(tenant, weight));
            const [next, ...window] = queue.window(64);
            const batch = [next!, ...window.filter((item) => !waiting.has(item)).slice(0, 3)];
            queue.give(batch);
            for (const item of batch) waiting.delete(item);
          }
          expect(waiting.size).toBe(0);
        },
      ),
    );
  });

  it('shows each waiting item once, the next one first, and counts what waits', () => {
    const step = fc.oneof(
      fc.record({
        do: fc.constant('push' as const),
        tenant: fc.constantFrom('a', 'b', 'c', 'd'),
        weight: fc.integer({ min: 1, max: 50 }),
      }),
      fc.record({ do: fc.constantFrom('serve' as const, 'remove' as const), which: fc.nat() }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const queue = new FairQueue<Entry>();
        const model = new Set<Entry>();
        for (const next of steps) {
          if (next.do === 'push') {
            const item = entry(next.tenant, next.weight);
            queue.push(item);
            model.add(item);
          } else if (next.do === 'remove') {
            const item = [...model][next.which % Math.max(1, model.size)] ?? entry('nobody');
            expect(queue.remove(item)).toBe(model.delete(item));
          } else {
            const window = queue.window(5);
            expect(window).toHaveLength(Math.min(window.length, 5));
            expect(new Set(window).size).toBe(window.length);
            expect(window.length > 0).toBe(model.size > 0);
            for (const item of window) expect(model.has(item)).toBe(true);
            const batch = window.slice(0, 1 + (next.which % 5));
            queue.give(batch);
            for (const item of batch) model.delete(item);
          }
          expect(queue.size).toBe(model.size);
          expect(queue.waitingWeight).toBe([...model].reduce((sum, { weight }) => sum + weight, 0));
          expect([...queue.items]).toEqual([...model]);
        }
      }),
    );
  });

  it('tells what will be computed before a newcomer is done', () => {
    const queue = new FairQueue<Entry>();
    expect(queue.aheadTokens('a', 30)).toBe(30);
    fill(queue, 'a', 100);
    expect(queue.aheadTokens('a', 30)).toBe(1030);
    // Who has nothing waiting shares with the other one, and passes most of its queue.
    expect(queue.aheadTokens('b', 30)).toBe(60);
    fill(queue, 'b', 1);
    expect(queue.aheadTokens('b', 30)).toBe(80);
  });
});
