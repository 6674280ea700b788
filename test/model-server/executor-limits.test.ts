import { describe, expect, it } from 'vitest';
import type { ServingError } from '../../model-server/errors.ts';
import { batch, eventually, usePools } from './pool-setup.ts';

const WATCHDOG_MS = 60_000;
const LOAD_LIMIT_MS = 10 * WATCHDOG_MS;
const { makePool, fire, pending } = usePools();

it.each([
  [1000, 600_000],
  [120_000, 1_200_000],
])('a watchdog of %i ms gives loads %i ms', async (watchdogMs, limitMs) => {
  const pool = makePool({ modelFile: 'hangs-on-load', watchdogMs });
  const opening = pool.open().catch(() => undefined);
  expect(pending()).toEqual([limitMs]);
  fire(limitMs);
  await opening;
});

describe.each(['thread', 'process'] as const)('a load in a %s', (isolation) => {
  it('that never ends fails in the end, and says after how long', async () => {
    const pool = makePool({ isolation, modelFile: 'hangs-on-load', watchdogMs: WATCHDOG_MS });
    const opening = pool.open().catch((error: ServingError) => error);
    fire(LOAD_LIMIT_MS);
    expect(await opening).toMatchObject({
      reason: 'MODEL_LOAD_FAILED',
      message: expect.stringContaining('still loading after 600000 ms'),
    });
    expect(pool.states[0]!.state).toBe('crashed');
  });

  it.each(['any', 'fails-to-load', 'dies-on-load'])(
    'that has ended is not timed any more (%s)',
    async (modelFile) => {
      const pool = makePool({ isolation, modelFile, watchdogMs: WATCHDOG_MS });
      await pool.open().catch(() => undefined);
      expect(pending()).toEqual([]);
    },
  );
});

/** More than a program can be started with. */
const HUGE = 'x'.repeat(16 * 2 ** 20);

describe('an instance that can not be started at all', () => {
  it('is a failed load', async () => {
    const pool = makePool({ isolation: 'process', instances: 2, env: { HUGE } });
    await expect(pool.open()).rejects.toMatchObject({
      reason: 'MODEL_LOAD_FAILED',
      message: expect.stringContaining("its process can't be started: spawn E2BIG"),
    });
    expect(pending()).toEqual([]);
  });

  it('is tried again like one that has died, and the server goes on', async () => {
    const env: Record<string, string> = {};
    const pool = makePool({ isolation: 'process', env });
    await pool.open();
    await expect(pool.take()!.run(batch(666))).rejects.toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    env.HUGE = HUGE;
    fire(100);
    await eventually(() => expect(pending()).toEqual([200]));
    delete env.HUGE;
    fire(200);
    await eventually(() => expect(pool.free).toBe(1));
  });
});

describe('an instance that is started again', () => {
  it('and hangs in the batch that is to prove it: is ended, and tried again', async () => {
    const pool = makePool({ watchdogMs: WATCHDOG_MS });
    await pool.open();
    pool.setCanary(batch(777));
    await expect(pool.take()!.run(batch(666))).rejects.toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    fire(100);
    await eventually(() => expect(pending()).toEqual([WATCHDOG_MS]));
    fire(WATCHDOG_MS);
    await eventually(() => expect(pending()).toContain(200));
  });
});

describe.each(['thread', 'process'] as const)('a pool of a crashed %s', (isolation) => {
  it('closes, and leaves no timer that would keep the server from ending', async () => {
    const pool = makePool({ isolation, watchdogMs: WATCHDOG_MS });
    await pool.open();
    await expect(pool.take()!.run(batch(666))).rejects.toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    await pool.close();
    expect(pending()).toEqual([]);
  });
});

describe('a batch that can not be sent', () => {
  it('is refused, and what runs before and after it gets its own answers', async () => {
    const pool = makePool();
    await pool.open();
    const first = pool.take()!.run(batch(5));
    const behind = pool.prefetch()!;
    const sent = batch(6);
    structuredClone(sent.tokens, { transfer: [sent.tokens] });
    expect(() => behind.run(sent)).toThrow(/detached|transfer/i);
    const last = behind.run(batch(7));
    expect((await first).outputs[0]![0]).toBe(5);
    expect((await last).outputs[0]![0]).toBe(7);
    expect(pool.free).toBe(1);
  });
});
