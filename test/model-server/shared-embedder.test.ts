import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import type { GatedPool } from './gated-pool.ts';
import type { ManualClock } from './manual-clock.ts';
import { settle } from './scheduler-setup.ts';
import { setUpSharing, vectorOf } from './shared-embedder-setup.ts';

// Deadlines of calls are times of day; here that stands still, and the scheduler's clock is moved by hand.
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
afterEach(() => void vi.useRealTimers());

/** The arrivals so far are seen by the scheduler. */
async function arrive(clock: { tick(): void }): Promise<void> {
  await settle();
  clock.tick();
  await settle();
}

/** Lets everything run that waits. */
async function runAll(pool: GatedPool, clock: ManualClock): Promise<void> {
  for (await arrive(clock); pool.held.length > 0; await arrive(clock)) pool.held[0]!.succeed();
}

describe('the cache', () => {
  it('answers a text that was embedded before, and says so', async () => {
    const { embed, pool, clock, cache } = setUpSharing();
    const first = embed(['1 2', '3']);
    await arrive(clock);
    pool.held[0]!.succeed();
    expect(await first).toMatchObject({
      vectors: [Float32Array.of(1, 3), Float32Array.of(3, 3)],
      texts: [
        { tokens: 2, tokensUsed: 2, truncated: false, cached: false },
        { tokens: 1, cached: false },
      ],
    });
    const second = await embed(['3', '1 2', '3']);
    expect(second.vectors.map((vector) => [...vector])).toEqual([
      [3, 3],
      [1, 3],
      [3, 3],
    ]);
    expect(second.texts.map(({ cached }) => cached)).toEqual([true, true, true]);
    expect(second.timings).toEqual({ queueUs: 0, tokenizeUs: 0, computeUs: 0, postUs: 0 });
    expect(cache.figures).toMatchObject({ hits: 3, misses: 2, joined: 0, entries: 2 });
    expect(pool.held).toEqual([]);
  });

  it('keeps a copy that holds nothing of the batch, and computes only what it lacks', async () => {
    const { embed, pool, clock } = setUpSharing();
    const first = embed(['1']);
    await arrive(clock);
    pool.held[0]!.succeed();
    expect((await first).vectors[0]!.buffer.byteLength).toBe(8);
    const mixed = embed(['1', '2', '1']);
    await arrive(clock);
    expect(pool.held[0]!.rows).toEqual([[2]]);
    pool.held[0]!.succeed();
    expect((await mixed).texts.map(({ cached }) => cached)).toEqual([true, false, true]);
    expect((await mixed).vectors.map((vector) => [...vector])).toEqual([
      vectorOf('1'),
      vectorOf('2'),
      vectorOf('1'),
    ]);
  });

  it('never answers for another space', async () => {
    const { embedder, pool, clock, version } = setUpSharing();
    const ask = (space: string) => embedder.embed(version(space), ['1'], { truncate: 'end' });
    const first = ask('s');
    await arrive(clock);
    pool.held[0]!.succeed();
    await first;
    const other = ask('t');
    await arrive(clock);
    pool.held[0]!.succeed();
    expect((await other).texts[0]!.cached).toBe(false);
    // Another version of the space makes the same vectors.
    expect((await ask('s')).texts[0]!.cached).toBe(true);
  });

  it('refuses a text that is too long with the same words, cached or not', async () => {
    const long = '1 2 3 4 5 6 7 8 9';
    const { embed, pool, clock } = setUpSharing();
    const strict = { truncate: 'error' as const };
    const uncached = await embed(['5', long], { ...strict, noCache: true }).catch(
      (error: ServingError) => error,
    );
    const missed = await embed(['5', long], strict).catch((error: ServingError) => error);
    expect(pool.held).toEqual([]);
    const truncating = embed([long, '5']);
    await arrive(clock);
    const joining = await embed(['5', long], strict).catch((error: ServingError) => error);
    await runAll(pool, clock);
    expect((await truncating).texts[0]).toMatchObject({ tokens: 9, tokensUsed: 8, truncated: true });
    const cached = await embed(['5', long], strict).catch((error: ServingError) => error);
    const half = await embed(['6', long], strict).catch((error: ServingError) => error);
    for (const error of [uncached, missed, joining, cached, half])
      expect(error).toMatchObject({
        reason: 'INPUT_TOO_LONG',
        message: expect.stringContaining('input 1 has 9 tokens, the limit is 8'),
      });
    expect((await embed(['5'], strict)).texts[0]!.cached).toBe(true);
    expect(pool.held).toEqual([]);
  });

  it('is neither read nor written nor shared by a call that does not want it', async () => {
    const { embed, pool, clock, cache } = setUpSharing({ instances: 4 });
    const shy = [embed(['1'], { noCache: true }), embed(['1'], { noCache: true })];
    const open = embed(['1']);
    await arrive(clock);
    expect(pool.held.flatMap(({ rows }) => rows)).toEqual([[1], [1], [1]]);
    while (pool.held.length > 0) pool.held[0]!.succeed();
    await Promise.all([...shy, open]);
    const again = embed(['1'], { noCache: true });
    await arrive(clock);
    pool.held[0]!.succeed();
    expect((await again).texts[0]!.cached).toBe(false);
    expect(cache.figures).toMatchObject({ hits: 0, misses: 1, entries: 1 });
  });

  it('keeps nothing with a budget of 0, and still computes equal texts once', async () => {
    const { embed, pool, clock, cache } = setUpSharing({ cacheBytes: 0 });
    const calls = [embed(['1']), embed(['1'])];
    await arrive(clock);
    expect(pool.held[0]!.rows).toEqual([[1]]);
    pool.held[0]!.succeed();
    await Promise.all(calls);
    expect(cache.figures).toMatchObject({ hits: 0, misses: 1, joined: 1, entries: 0 });
    const again = embed(['1']);
    await arrive(clock);
    expect(pool.held).toHaveLength(1);
    pool.held[0]!.succeed();
    expect((await again).texts[0]!.cached).toBe(false);
  });
});

describe('equal texts in flight', () => {
  it('are computed once, also within one call', async () => {
    const { embed, pool, clock, cache } = setUpSharing();
    const calls = [embed(['1', '2', '1']), embed(['2', '1'])];
    await arrive(clock);
    expect(pool.held.map(({ rows }) => rows)).toEqual([[[1], [2]]]);
    pool.held[0]!.succeed();
    const [first, second] = await Promise.all(calls);
    expect(first!.vectors.map((vector) => vector[0])).toEqual([1, 2, 1]);
    expect(second!.vectors.map((vector) => vector[0])).toEqual([2, 1]);
    expect([...first!.texts, ...second!.texts].every(({ cached }) => !cached)).toBe(true);
    expect(cache.figures).toMatchObject({ misses: 2, joined: 3 });
  });

  it('go on when the first caller cancels, and are cancelled when nobody waits', async () => {
    const { embed, pool, clock, scheduler } = setUpSharing();
    const busy = embed(['9']);
    await arrive(clock);
    const [leader, follower] = [new AbortController(), new AbortController()];
    const led = embed(['1', '2'], { signal: leader.signal });
    await arrive(clock);
    const followed = embed(['1'], { signal: follower.signal });
    await arrive(clock);
    expect(scheduler.queuedItems).toBe(2);
    leader.abort(new ServingError('CANCELLED', 'gone'));
    await expect(led).rejects.toThrow('gone');
    // What only the leader wanted has left the queue at once.
    expect(scheduler.queuedItems).toBe(1);
    follower.abort();
    await expect(followed).rejects.toMatchObject({ reason: 'CANCELLED' });
    expect(scheduler.queuedItems).toBe(0);
    const anew = embed(['1']);
    await arrive(clock);
    pool.held[0]!.succeed();
    await busy;
    await arrive(clock);
    pool.held[0]!.succeed();
    expect([...(await anew).vectors[0]!]).toEqual([1, 1]);
  });

  it('go on where they are computed already when the first caller cancels', async () => {
    const { embed, pool, clock, scheduler } = setUpSharing();
    const leader = new AbortController();
    const led = embed(['1'], { signal: leader.signal });
    await arrive(clock);
    const followed = embed(['2', '1']);
    await arrive(clock);
    expect(pool.held.map(({ rows }) => rows)).toEqual([[[1]]]);
    leader.abort();
    await expect(led).rejects.toMatchObject({ reason: 'CANCELLED' });
    await arrive(clock);
    expect(scheduler.queuedItems).toBe(1);
    pool.held[0]!.succeed();
    await arrive(clock);
    expect(pool.held.map(({ rows }) => rows)).toEqual([[[2]]]);
    await runAll(pool, clock);
    expect((await followed).vectors.map((vector) => [...vector])).toEqual([vectorOf('2'), vectorOf('1')]);
  });

  it('a later caller with more time does not fail with the first one', async () => {
    const { embed, pool, clock, scheduler } = setUpSharing();
    const busy = embed(['9']);
    await arrive(clock);
    const hasty = embed(['1'], { deadlineMs: Date.now() + 5 });
    await arrive(clock);
    const patient = embed(['1'], { deadlineMs: Date.now() + 50 });
    const endless = embed(['1']);
    await arrive(clock);
    expect(scheduler.queuedItems).toBe(1);
    clock.advance(6000);
    await expect(hasty).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED' });
    await arrive(clock);
    expect(scheduler.queuedItems).toBe(1);
    clock.advance(50_000);
    await expect(patient).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED' });
    await arrive(clock);
    pool.held[0]!.succeed();
    await busy;
    await arrive(clock);
    pool.held[0]!.succeed();
    expect([...(await endless).vectors[0]!]).toEqual([1, 1]);
  });

  it('a later caller with less time waits no longer than that, and the first one goes on', async () => {
    const { embed, pool, clock } = setUpSharing();
    const first = embed(['1']);
    await arrive(clock);
    const hasty = embed(['1'], { deadlineMs: Date.now() + 5 });
    await arrive(clock);
    clock.advance(6000);
    await expect(hasty).rejects.toMatchObject({
      reason: 'DEADLINE_EXCEEDED',
      message: expect.stringContaining('model m version 1'),
    });
    expect(clock.timers).toBe(0);
    pool.held[0]!.succeed();
    expect([...(await first).vectors[0]!]).toEqual([1, 1]);
  });

  it('are hurried on by a caller who is more urgent, and still computed once', async () => {
    const { embed, pool, clock, scheduler } = setUpSharing();
    const busy = embed(['9']);
    await arrive(clock);
    const bulk = [1, 2, 3, 4, 5].map((id) => embed([`${id}`], { priority: 'bulk' }));
    await arrive(clock);
    const urgent = embed(['5'], { priority: 'interactive' });
    await arrive(clock);
    pool.held[0]!.succeed();
    await busy;
    await arrive(clock);
    expect(pool.held[0]!.rows[0]).toEqual([5]);
    pool.held[0]!.succeed();
    expect([...(await urgent).vectors[0]!]).toEqual([5, 5]);
    await bulk[4];
    await arrive(clock);
    // Nothing else than the other four is left.
    const rest = pool.held.flatMap(({ rows }) => rows).map(([id]) => id);
    expect(rest.includes(5)).toBe(false);
    await runAll(pool, clock);
    await Promise.all(bulk);
    expect(scheduler.queuedItems).toBe(0);
  });

  it('fail for all of them, and are tried again by the next caller', async () => {
    const { embed, pool, clock } = setUpSharing();
    const calls = [embed(['1']), embed(['1', '2'])];
    await arrive(clock);
    for (const held of [...pool.held]) held.fail(new ServingError('EXECUTOR_CRASHED', 'boom'));
    for (const call of calls) await expect(call).rejects.toThrow('boom');
    const next = embed(['1']);
    await arrive(clock);
    pool.held[0]!.succeed();
    expect((await next).texts[0]!.cached).toBe(false);
  });

  it('a call that does not fit is refused as a whole, and leaves nothing behind', async () => {
    const { embed, pool, clock, scheduler } = setUpSharing({ queueItems: 3 });
    const busy = embed(['9']);
    await arrive(clock);
    const first = embed(['1', '2']);
    await arrive(clock);
    // Of these one is in flight already, and the two others do not fit.
    await expect(embed(['1', '3', '4'])).rejects.toMatchObject({ reason: 'QUEUE_FULL' });
    expect(scheduler.queuedItems).toBe(2);
    const joining = embed(['2', '1', '3']);
    await arrive(clock);
    expect(scheduler.queuedItems).toBe(3);
    pool.held[0]!.succeed();
    await busy;
    await runAll(pool, clock);
    await Promise.all([first, joining]);
  });

  it('are not shared by versions: each holds its own', async () => {
    const { embedder, pool, clock, version } = setUpSharing();
    const [one, other] = [version('s'), version('s')];
    const calls = [one, other].map((loaded) => embedder.embed(loaded, ['1'], { truncate: 'end' }));
    await arrive(clock);
    expect(pool.held.flatMap(({ rows }) => rows)).toEqual([[1], [1]]);
    while (pool.held.length > 0) pool.held[0]!.succeed();
    await Promise.all(calls);
  });
});
