import { describe, expect, it } from 'vitest';
import { MemoryBudget } from '../../model-server/models/memory/budget.ts';
import { FakeResident } from './memory-resident.ts';

const MB = 1e6;

function setUp({
  limitMb = 100,
  baseMb = 10,
  freeMb,
}: {
  limitMb?: number;
  baseMb?: number;
  freeMb?: () => number;
} = {}) {
  const clock = { nowMs: 0 };
  const budget = new MemoryBudget({
    device: 'cpu',
    limitBytes: limitMb * MB,
    baseBytes: baseMb * MB,
    freeBytes: freeMb && (() => freeMb() * MB),
    nowMs: () => clock.nowMs,
  });
  /** A loaded, idle resident. */
  const add = async (
    name: string,
    mb: number,
    options: ConstructorParameters<typeof FakeResident>[1] = {},
  ) => {
    const resident = new FakeResident(name, { lastUsedMs: clock.nowMs, ...options });
    const reservation = await budget.reserve(resident, mb * MB);
    reservation.settle(mb * MB);
    return { resident, reservation };
  };
  const usedMb = () => budget.usedBytes / MB;
  /** What has been loaded, and not only promised. */
  const loadedMb = () => budget.rows().reduce((mb, { measuredBytes }) => mb + measuredBytes / MB, 0);
  const owners = () => budget.rows().map(({ owner }) => owner);
  return { clock, budget, add, usedMb, loadedMb, owners };
}

/** Lets everything that can go on go on. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('a memory budget', () => {
  it('counts what is predicted until it is measured, and nothing after release', async () => {
    const { budget, usedMb } = setUp();
    const reservation = await budget.reserve(new FakeResident('a'), 30 * MB);
    expect(usedMb()).toBe(40);
    reservation.settle(25 * MB);
    expect(usedMb()).toBe(35);
    reservation.settle(28 * MB);
    expect(usedMb()).toBe(38);
    reservation.release();
    reservation.release();
    reservation.settle(99 * MB);
    expect(usedMb()).toBe(10);
  });

  it('tells measured beside predicted', async () => {
    const { budget, clock, add } = setUp();
    const { reservation } = await add('model m version 2', 30, { leases: 2, keepAliveMs: 500 });
    reservation.settle(25 * MB);
    clock.nowMs = 70;
    expect(budget.report(5 * MB)).toEqual({
      device: 'cpu',
      limitBytes: 100 * MB,
      baseBytes: 10 * MB,
      usedBytes: 35 * MB,
      residentBytes: 5 * MB,
      rows: [
        {
          owner: 'model m version 2',
          device: 'cpu',
          predictedBytes: 30 * MB,
          measuredBytes: 25 * MB,
          leases: 2,
          idleMs: 70,
          keepAliveMs: 500,
        },
      ],
    });
  });

  it('evicts what is idlest and largest, says why, and waits until its memory is back', async () => {
    const { clock, budget, add, usedMb, owners } = setUp();
    const { resident: old } = await add('old', 40, { gated: true });
    clock.nowMs = 1_000;
    const { resident: young } = await add('young', 40);
    clock.nowMs = 1_500;
    let entered = false;
    const reserved = budget.reserve(new FakeResident('new'), 30 * MB).then(() => {
      entered = true;
    });
    await settled();
    expect(old.evictedWhy).toBe('new needed 30 MB on cpu');
    expect(young.evictedWhy).toBeUndefined();
    expect([entered, usedMb()]).toEqual([false, 90]);
    old.finishEviction();
    await reserved;
    expect(owners()).toEqual(['young', 'new']);
    expect(usedMb()).toBe(80);
  });

  it('never evicts what is in use, pinned or loading, and decides before it evicts anything', async () => {
    const { clock, budget, add } = setUp();
    const { resident: busy } = await add('busy', 30, { leases: 3 });
    const { resident: pinned } = await add('pinned', 20, { pinned: true });
    const { resident: idle } = await add('idle', 10);
    const loading = new FakeResident('loading');
    await budget.reserve(loading, 15 * MB);
    clock.nowMs = 9_999;
    const error = await budget.reserve(new FakeResident('new'), 36 * MB).catch((thrown) => thrown);
    expect(error).toMatchObject({ reason: 'MEMORY_BUDGET_EXCEEDED', retryAfterMs: 1_000 });
    expect(error.message).toBe(
      'new needs 36 MB on cpu; the budget is 100 MB, 85 MB are used and not enough of that can be unloaded: busy 30 MB (in use by 3), pinned 20 MB (pinned), loading 15 MB (loading), idle 10 MB (idle). Try again in 1000 ms, or raise the budget.',
    );
    for (const resident of [busy, pinned, idle, loading]) expect(resident.evictedWhy).toBeUndefined();
    await budget.reserve(new FakeResident('smaller'), 25 * MB);
    expect(idle.evictedWhy).toBe('smaller needed 25 MB on cpu');
  });

  it('says to wait longer for a load, and not at all for what is pinned', async () => {
    const { budget, add } = setUp();
    await budget.reserve(new FakeResident('loading'), 50 * MB);
    const wanted = new FakeResident('new');
    await expect(budget.reserve(wanted, 45 * MB)).rejects.toMatchObject({ retryAfterMs: 5_000 });
    await add('pinned', 35, { pinned: true });
    await expect(budget.reserve(wanted, 60 * MB)).rejects.toMatchObject({ retryAfterMs: undefined });
  });

  it('names the largest holders only', async () => {
    const { budget, add } = setUp({ limitMb: 200 });
    for (let i = 1; i <= 11; i++) await add(`m${i}`, i, { leases: 1 });
    const error = await budget.reserve(new FakeResident('new'), 150 * MB).catch((thrown) => thrown);
    expect(error.message).toContain('m4 4 MB (in use by 1), 3 more. Try again');
    expect(error.message).not.toContain('m3 ');
  });

  it('refuses at once what is larger than the whole budget, past those who wait, and evicts nobody for it', async () => {
    const { budget, add } = setUp();
    const { resident } = await add('idle', 80, { gated: true });
    const waiting = budget.reserve(new FakeResident('waits'), 50 * MB);
    const error = await budget.reserve(new FakeResident('giant'), 91 * MB).catch((thrown) => thrown);
    expect(error).toMatchObject({ reason: 'MEMORY_BUDGET_EXCEEDED', retryAfterMs: undefined });
    expect(error.message).toBe(
      "giant needs 91 MB on cpu; the budget is 100 MB, of which 10 MB are the server's own, so it never fits. Raise the budget, use fewer instances, or a smaller model.",
    );
    resident.finishEviction();
    await waiting;
  });

  it('serves reservations in order: none takes the room that was made for another', async () => {
    const { budget, add, owners } = setUp();
    const { resident: idle } = await add('idle', 60, { gated: true });
    const entered: string[] = [];
    const reserve = (name: string, mb: number) =>
      budget.reserve(new FakeResident(name), mb * MB).then(() => entered.push(name));
    const all = [reserve('large', 80), reserve('small', 10)];
    await settled();
    expect(entered).toEqual([]);
    idle.finishEviction();
    await Promise.all(all);
    expect(entered).toEqual(['large', 'small']);
    expect(owners()).toEqual(['large', 'small']);
  });

  it('a refused one does not stop those behind it', async () => {
    const { budget, add } = setUp();
    await add('busy', 60, { leases: 1 });
    const refused = expect(budget.reserve(new FakeResident('a'), 50 * MB)).rejects.toThrow('a needs 50 MB');
    await Promise.all([refused, budget.reserve(new FakeResident('b'), 20 * MB)]);
  });

  it('waits for what is on its way out instead of evicting one more', async () => {
    const { clock, budget, add } = setUp();
    const { resident: leaving } = await add('leaving', 45, { gated: true, keepAliveMs: 100 });
    const { resident: other } = await add('other', 45);
    clock.nowMs = 100;
    const expired = budget.evictExpired();
    const reserved = budget.reserve(new FakeResident('new'), 40 * MB);
    await settled();
    leaving.finishEviction();
    expect(await expired).toEqual(['leaving']);
    await reserved;
    expect(other.evictedWhy).toBeUndefined();
  });

  it('evicts more when something turned out larger while the room was made', async () => {
    const { clock, budget, add, owners } = setUp();
    const { resident: first } = await add('first', 40, { gated: true });
    const { resident: second } = await add('second', 10);
    const loading = await budget.reserve(new FakeResident('loading', { leases: 1 }), 20 * MB);
    clock.nowMs = 10;
    const reserved = budget.reserve(new FakeResident('new'), 45 * MB);
    await settled();
    expect([first.evictedWhy !== undefined, second.evictedWhy]).toEqual([true, undefined]);
    loading.settle(45 * MB);
    second.lastUsedMs = 10;
    first.finishEviction();
    await expect(reserved).resolves.toBeDefined();
    expect(second.evictedWhy).toContain('new needed 45 MB');
    expect(owners()).toEqual(['loading', 'new']);
  });

  it('unloads what has outlived its keep-alive, unless it is in use, pinned or without one', async () => {
    const { clock, budget, add, owners } = setUp();
    const { resident: expired } = await add('expired', 10, { keepAliveMs: 1_000 });
    await add('fresh', 10, { keepAliveMs: 1_001 });
    await add('in use', 10, { keepAliveMs: 0, leases: 1 });
    await add('pinned', 10, { keepAliveMs: 0, pinned: true });
    await add('for ever', 10);
    clock.nowMs = 1_000;
    expect(await budget.evictExpired()).toEqual(['expired']);
    expect(expired.evictedWhy).toBe('it was idle for its keep-alive of 1000 ms');
    expect(owners()).toEqual(['fresh', 'in use', 'pinned', 'for ever']);
    expect(await budget.evictExpired()).toEqual([]);
  });

  it('shrinks as far as it goes', async () => {
    const { clock, budget, add, usedMb } = setUp();
    await add('busy', 30, { leases: 1 });
    await add('a', 20);
    await add('b', 10);
    clock.nowMs = 5;
    expect(await budget.shrinkTo(55 * MB, 'why')).toEqual({ evicted: ['a'], freedBytes: 20 * MB });
    expect(await budget.shrinkTo(0, 'why')).toEqual({ evicted: ['b'], freedBytes: 10 * MB });
    expect(await budget.shrinkTo(0, 'why')).toEqual({ evicted: [], freedBytes: 0 });
    expect(usedMb()).toBe(40);
  });

  it('without a limit takes all, and tells the limit as 0', async () => {
    const { budget, add } = setUp({ limitMb: Number.POSITIVE_INFINITY });
    const { resident } = await add('a', 1e6);
    await add('b', 1e6);
    expect(resident.evictedWhy).toBeUndefined();
    expect(budget.report(0).limitBytes).toBe(0);
  });
});

describe('a budget on a machine that others use, too', () => {
  /** 60 MB of the machine are left for this server, less what others take. */
  function shared() {
    const others = { mb: 0 };
    const made = setUp({ limitMb: 1000, baseMb: 0, freeMb: () => 60 - others.mb - made.loadedMb() });
    return { ...made, others };
  }

  it('makes room for a load in what the machine has left', async () => {
    const { add, others, owners, clock } = shared();
    const { resident: old } = await add('old', 30);
    clock.nowMs = 10;
    await add('new', 20);
    others.mb = 10;
    expect(owners()).toEqual(['old', 'new']);
    await add('third', 25);
    expect(old.evictedWhy).toBe('third needed 25 MB on cpu');
    expect(owners()).toEqual(['new', 'third']);
  });

  it('refuses what the machine has no room for, evicts nobody for it, and says when to try again', async () => {
    const { add, others, owners } = shared();
    await add('idle', 20);
    others.mb = 30;
    await expect(add('large', 31)).rejects.toMatchObject({
      reason: 'MEMORY_BUDGET_EXCEEDED',
      retryAfterMs: 5000,
      message:
        "large needs 31 MB on cpu, but only 10 MB of the machine's memory is free above the floor, and not enough can be unloaded: idle 20 MB (idle). Try again in 5000 ms; else stop what takes the memory, or lower --memory-floor-mb.",
    });
    expect(owners()).toEqual(['idle']);
    others.mb = 0;
    await add('large', 31);
    expect(owners()).toEqual(['idle', 'large']);
  });

  it('counts what is still loading as taken', async () => {
    const { budget, add } = shared();
    await budget.reserve(new FakeResident('loading'), 40 * MB);
    await expect(add('next', 21)).rejects.toMatchObject({
      message: expect.stringMatching(/only 20 MB of the machine's memory .*loading 40 MB \(loading\)/),
    });
    await add('small', 20);
  });
});
