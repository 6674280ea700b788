import { describe, expect, it } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import { chooseItems } from '../../model-server/scheduler/choose-items.ts';
import { TensorItem } from '../../model-server/scheduler/item.ts';
import { values } from './raw-tensors.ts';
import { call, settle, setUp } from './scheduler-setup.ts';

/** First value of each row of each batch that is held. */
const heads = (pool: ReturnType<typeof setUp>['pool']) =>
  pool.held.map((held) => held.rows.map((row) => row[0]));

describe('raw tensors', () => {
  it('equal calls are joined, and each gets its own rows', async () => {
    const { clock, pool, infer } = setUp();
    const [one, two] = [infer(call([1])), infer(call([2, 3]))];
    clock.tick();
    expect(heads(pool)).toEqual([[1, 2, 3]]);
    pool.held[0]!.succeed();
    expect(await one).toMatchObject({ queueUs: 0, computeUs: 10, postUs: 1 });
    expect(values((await one).tensors[0]!)).toEqual([2, 2]);
    expect((await two).tensors[0]).toMatchObject({ name: 'y', shape: [2, 2] });
    expect(values((await two).tensors[0]!)).toEqual([4, 4, 6, 6]);
  });

  it.each([
    ['of another shape', call([2], { width: 3 })],
    ['with other outputs', call([2], { outputs: ['z'] })],
    ['that can not be joined', call([2], { joinable: false })],
  ])('calls %s run by themselves', (_, other) => {
    const { clock, pool, infer } = setUp();
    infer(call([1]));
    infer(other);
    infer(call([3]));
    clock.tick();
    expect(heads(pool)).toEqual([[1, 3]]);
    pool.held[0]!.succeed();
  });

  it('never share a batch with texts, and neither starves', async () => {
    const { clock, pool, submit, infer } = setUp();
    submit(7);
    clock.tick();
    infer(call([1]));
    submit(8);
    infer(call([2]));
    submit(9);
    clock.tick();
    const kinds: string[] = [];
    for (let batches = 0; batches < 3; batches++) {
      kinds.push(pool.held[0]!.batch.kind);
      pool.held[0]!.succeed();
      await settle();
    }
    expect(kinds).toEqual(['tokens', 'tensors', 'tokens']);
    expect(pool.held).toHaveLength(0);
  });

  it('join up to a limit of bytes', () => {
    const MiB = 2 ** 20;
    const items = [20, 20, 8, 1].map((size) => {
      const inputs = [
        { ...call([1]).inputs[0]!, shape: [1, (size * MiB) / 4], data: new Uint8Array(size * MiB) },
      ];
      return new TensorItem({ ...call([1]), inputs }, { enqueuedUs: 0, onSettled: () => undefined });
    });
    const limits = { maxItems: 32, maxTokens: 1 };
    const chosen = chooseItems(
      { kind: 'tensors', items },
      {
        limits,
        costs: { predictUs: () => 1 },
        freeInstances: 1,
      },
    );
    expect(chosen.items).toEqual([items[0], items[2], items[3]]);
  });

  it('join up to the limit of rows; what is larger by itself runs alone', async () => {
    const { clock, pool, infer } = setUp();
    for (const rows of [[1, 1, 1], [2, 2], [3], [4, 4, 4, 4, 4]]) infer(call(rows));
    clock.tick();
    const seen: unknown[] = [];
    while (pool.held.length > 0) {
      seen.push(...heads(pool));
      pool.held[0]!.succeed();
      await settle();
    }
    expect(seen).toEqual([
      [1, 1, 1, 3],
      [2, 2],
      [4, 4, 4, 4, 4],
    ]);
  });

  it('are shared among free instances', () => {
    const { clock, pool, infer } = setUp(2);
    for (const value of [1, 2, 3, 4]) infer(call([value]));
    clock.tick();
    expect(heads(pool)).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });

  it('wait for company when a delay is asked for, and not when none can come', () => {
    const { clock, pool, infer } = setUp(2, { queueDelayUs: 500 });
    infer(call([1]));
    clock.tick();
    expect(pool.held).toHaveLength(0);
    clock.advance(500);
    expect(heads(pool)).toEqual([[1]]);
    infer(call([2], { joinable: false }));
    clock.tick();
    expect(heads(pool)).toEqual([[1], [2]]);
  });

  it('a joined batch that fails is run again one by one, so that the poison hurts only itself', async () => {
    const { clock, pool, infer } = setUp();
    const outcomes = [infer(call([1])), infer(call([2]))];
    clock.tick();
    pool.held[0]!.fail(new ServingError('BATCH_FAILED', 'bad row'));
    await settle();
    expect(heads(pool)).toEqual([[1]]);
    pool.held[0]!.fail(new ServingError('BATCH_FAILED', 'bad row'));
    await settle();
    expect(heads(pool)).toEqual([[2]]);
    pool.held[0]!.succeed();
    expect((await Promise.allSettled(outcomes)).map((outcome) => outcome.status)).toEqual([
      'rejected',
      'fulfilled',
    ]);
  });

  it('a joined answer that can not be told apart is asked for again one by one', async () => {
    const { clock, pool, infer } = setUp();
    pool.flattens = true;
    const outcomes = [infer(call([1])), infer(call([2]))];
    clock.tick();
    pool.held[0]!.succeed();
    await settle();
    for (const value of [1, 2]) {
      expect(heads(pool)).toEqual([[value]]);
      pool.held[0]!.succeed();
      await settle();
    }
    expect(values((await outcomes[1]!).tensors[0]!)).toEqual([4, 4]);
  });

  it('are bounded in bytes, and a call larger than the queue runs when nothing else waits', () => {
    const { scheduler } = setUp(0, { queue: { maxItems: 100, maxTokens: 10, maxBytes: 20 } });
    const never = (promise: Promise<unknown>) => void promise.catch(() => undefined);
    never(scheduler.submitTensors(call([1, 2, 3])));
    expect(() => scheduler.submitTensors(call([1]))).toThrowError(
      expect.objectContaining({
        reason: 'QUEUE_FULL',
        message: expect.stringMatching(/24 bytes wait, 8 bytes more do not fit \(limit: 20 bytes\)/),
      }),
    );
  });

  it('are cancelled, expire, and are refused by a closed scheduler as texts are', async () => {
    const { clock, scheduler, infer } = setUp(0);
    const controller = new AbortController();
    const cancelled = infer(call([1]), { signal: controller.signal });
    controller.abort();
    await expect(cancelled).rejects.toMatchObject({ reason: 'CANCELLED' });
    expect(scheduler.queuedItems).toBe(0);
    const waiting = infer(call([2]));
    clock.tick();
    scheduler.destroy(new ServingError('SERVER_STOPPING', 'stopping'));
    await expect(waiting).rejects.toMatchObject({ reason: 'SERVER_STOPPING' });
    expect(() => scheduler.submitTensors(call([3]))).toThrowError(
      expect.objectContaining({ reason: 'SERVER_STOPPING' }),
    );
  });
});
