import { describe, expect, it } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import { call, input, settle, setUp } from './scheduler-setup.ts';

describe('hand-over', () => {
  it('takes a burst as one batch on an idle server, without waiting for time', async () => {
    const { clock, pool, submit } = setUp();
    const promises = [1, 2, 3].map((id) => submit(id));
    expect(pool.held).toHaveLength(0);
    clock.tick();
    expect(pool.held.map((held) => held.rows)).toEqual([
      [
        [1, 1],
        [2, 2],
        [3, 3],
      ],
    ]);
    pool.held[0]!.succeed();
    const outputs = (await Promise.all(promises)).map((result) => Array.from(result.output));
    expect(outputs).toEqual([
      [1, 2],
      [2, 4],
      [3, 6],
    ]);
  });

  it('forms the batch when an instance becomes free, from all that waits then', async () => {
    const { clock, pool, submit } = setUp();
    submit(1);
    clock.tick();
    for (const id of [2, 3, 4, 5, 6]) submit(id);
    clock.tick();
    expect(pool.held).toHaveLength(1);
    pool.held[0]!.succeed();
    await settle();
    expect(pool.held.map((held) => held.rows.map((row) => row[0]))).toEqual([[2, 3, 4, 5]]);
  });

  it('hands one batch over ahead of time, but only when enough waits to be worth it', () => {
    const { clock, pool, submit } = setUp(1, { queue: { maxItems: 100, maxTokens: 1000 } });
    submit(1);
    clock.tick();
    pool.prefetchable = true;
    for (const id of [2, 3, 4]) submit(id);
    clock.tick();
    expect(pool.held).toHaveLength(1);
    for (const id of [5, 6, 7, 8, 9]) submit(id);
    clock.tick();
    expect(pool.held.map((held) => held.rows.map((row) => row[0]))).toEqual([[1], [2, 3, 4, 5]]);
    for (const id of [10, 11, 12, 13, 14]) submit(id);
    clock.tick();
    expect(pool.held).toHaveLength(2);
  });

  it('waits for company only when a delay is asked for, and not longer', () => {
    const { clock, pool, submit } = setUp(1, { queueDelayUs: 500 });
    submit(1);
    clock.tick();
    clock.advance(400);
    expect(pool.held).toHaveLength(0);
    submit(2);
    clock.advance(100);
    expect(pool.held.map((held) => held.batch.rows)).toEqual([2]);
  });

  it('does not wait once the batch is full', () => {
    const { clock, pool, submit } = setUp(1, { queueDelayUs: 500 });
    for (const id of [1, 2, 3, 4]) submit(id);
    clock.tick();
    expect(pool.held.map((held) => held.batch.rows)).toEqual([4]);
  });

  it('does not wait once there are as many as are preferred, and takes all that there are', async () => {
    const { clock, pool, submit, infer } = setUp(1, { queueDelayUs: 500, preferredSizes: [3, 2] });
    submit(1);
    clock.tick();
    expect(pool.held).toHaveLength(0);
    for (const id of [2, 3]) submit(id);
    clock.tick();
    expect(pool.held.map((held) => held.batch.rows)).toEqual([3]);
    pool.held[0]!.succeed();
    await settle();
    // Rows of raw tensors count like texts.
    infer(call([1]));
    clock.tick();
    expect(pool.held).toHaveLength(0);
    infer(call([1]));
    clock.tick();
    expect(pool.held.map((held) => held.batch.rows)).toEqual([2]);
  });

  it('tells how long each input waited', async () => {
    const { clock, pool, submit } = setUp();
    const first = submit(1);
    clock.tick();
    const second = submit(2);
    clock.advance(300);
    pool.held[0]!.succeed();
    await settle();
    pool.held[0]!.succeed();
    expect((await first).queueUs).toBe(0);
    expect(await second).toMatchObject({ queueUs: 300, computeUs: 10, postUs: 1 });
  });
});

describe('admission', () => {
  it('refuses what does not fit, all inputs of a call together, and says when to come back', async () => {
    const { clock, pool, scheduler, submit } = setUp();
    submit(1);
    clock.tick();
    for (const id of [2, 3, 4, 5, 6, 7, 8]) submit(id);
    expect(() => scheduler.refuseEarly(2)).toThrowError(expect.objectContaining({ reason: 'QUEUE_FULL' }));
    expect(() => scheduler.refuseEarly(1)).not.toThrow();
    expect(() => scheduler.submit([input(9), input(10)])).toThrowError(
      expect.objectContaining({
        reason: 'QUEUE_FULL',
        message: expect.stringMatching(/7 inputs.*2 more.*limits: 8 inputs/),
      }),
    );
    expect(scheduler.queuedItems).toBe(7);
    try {
      scheduler.submit([input(9), input(10)]);
    } catch (error) {
      expect((error as ServingError).retryAfterMs).toBeGreaterThanOrEqual(1);
    }
    pool.held[0]!.succeed();
    await settle();
    expect(() => scheduler.submit([input(9), input(10)])).not.toThrow();
  });

  it('bounds tokens as well as texts, and lets a call larger than the queue run when nothing else waits', () => {
    const { scheduler } = setUp(0, { queue: { maxItems: 100, maxTokens: 10 } });
    const big = input(...Array.from({ length: 20 }, () => 1));
    expect(() => scheduler.submit([big])).not.toThrow();
    expect(() => scheduler.submit([input(1)])).toThrowError(
      expect.objectContaining({ reason: 'QUEUE_FULL' }),
    );
  });
});

describe('cancel and deadline', () => {
  it('ends the wait of an input at its deadline, though no instance is free', async () => {
    const { clock, pool, scheduler, submit } = setUp();
    submit(1);
    clock.tick();
    const late = submit(2, { deadlineUs: 3000 });
    const soon = submit(3, { deadlineUs: 1000 });
    const patient = submit(4);
    clock.tick();
    clock.advance(999);
    await settle();
    expect(pool.held).toHaveLength(1);
    clock.advance(1);
    await expect(soon).rejects.toMatchObject({
      reason: 'DEADLINE_EXCEEDED',
      message: expect.stringMatching(/after 1 ms in the queue/),
    });
    // Each look goes through all that wait, so that there are a hundred a second at most.
    clock.advance(9999);
    await settle();
    expect(scheduler.queuedItems).toBe(2);
    clock.advance(1);
    await expect(late).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED' });
    pool.held[0]!.succeed();
    await settle();
    expect(pool.held.map(({ rows }) => rows)).toEqual([[[4, 4]]]);
    pool.held[0]!.succeed();
    await expect(patient).resolves.toMatchObject({});
  });

  it('ends the wait of an input that is to be tried again alone, too', async () => {
    const { clock, pool, submit } = setUp();
    const [one, two] = [submit(1, { deadlineUs: 1000 }), submit(2)];
    clock.tick();
    pool.take = () => undefined;
    pool.held[0]!.fail(new ServingError('BATCH_FAILED', 'bad row'));
    await settle();
    clock.advance(1000);
    await expect(one).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED' });
    pool.failForGood(new ServingError('BACKEND_UNAVAILABLE', 'gone'));
    await expect(two).rejects.toMatchObject({ reason: 'BACKEND_UNAVAILABLE' });
  });

  it.each(['close', 'destroy'] as const)(
    '%s leaves no timer behind that would keep the server from ending',
    async (how) => {
      const { clock, pool, scheduler, submit } = setUp();
      const answered = submit(1, { deadlineUs: 3_600_000_000 });
      clock.tick();
      pool.held[0]!.succeed();
      await answered;
      await scheduler[how](new ServingError('SERVER_STOPPING', 'bye'));
      expect(clock.timers).toBe(0);
    },
  );

  it('does not end what runs at its deadline', async () => {
    const { clock, pool, submit } = setUp();
    const running = submit(1, { deadlineUs: 1000 });
    clock.tick();
    clock.advance(2000);
    pool.held[0]!.succeed();
    await expect(running).resolves.toMatchObject({ queueUs: 0 });
  });

  it('removes a queued input at once and never runs it', async () => {
    const { clock, pool, scheduler, submit } = setUp();
    submit(1);
    clock.tick();
    const controller = new AbortController();
    const cancelled = submit(2, { signal: controller.signal });
    const other = submit(3);
    controller.abort();
    await expect(cancelled).rejects.toMatchObject({ reason: 'CANCELLED' });
    expect(scheduler.queuedItems).toBe(1);
    pool.held[0]!.succeed();
    await settle();
    expect(pool.held[0]!.rows).toEqual([[3, 3]]);
    pool.held[0]!.succeed();
    await expect(other).resolves.toBeDefined();
  });

  it('drops the reply of a running input and gives its neighbours theirs', async () => {
    const { clock, pool, submit } = setUp();
    const controller = new AbortController();
    const reason = new ServingError('DEADLINE_EXCEEDED', 'late');
    const late = submit(1, { signal: controller.signal });
    const other = submit(2);
    clock.tick();
    controller.abort(reason);
    await expect(late).rejects.toBe(reason);
    pool.held[0]!.succeed();
    await expect(other).resolves.toMatchObject({ output: Float32Array.of(2, 4) });
  });

  it('an already aborted signal never enters the queue', async () => {
    const { scheduler, submit } = setUp();
    await expect(submit(1, { signal: AbortSignal.abort() })).rejects.toMatchObject({ reason: 'CANCELLED' });
    expect(scheduler.queuedItems).toBe(0);
  });

  it('does not forget what waits behind more expired work than it looks at', async () => {
    const { clock, pool, submit } = setUp(1, { queue: { maxItems: 1000, maxTokens: 10_000 } });
    submit(1);
    clock.tick();
    const expired = Array.from({ length: 300 }, () => submit(2, { deadlineUs: 1000 }));
    const last = submit(3);
    clock.advance(1000);
    pool.held[0]!.succeed();
    await settle();
    expect(pool.held.map((held) => held.rows)).toEqual([[[3, 3]]]);
    pool.held[0]!.succeed();
    await last;
    for (const outcome of await Promise.allSettled(expired)) expect(outcome.status).toBe('rejected');
  });

  it('listens to a call once, however many inputs it has', () => {
    const { scheduler } = setUp(0, { queue: { maxItems: 100, maxTokens: 1000 } });
    const { signal } = new AbortController();
    let listeners = 0;
    signal.addEventListener = () => void listeners++;
    scheduler
      .submit([input(1), input(2), input(3)], { signal })
      .forEach((promise) => void promise.catch(() => undefined));
    expect(listeners).toBe(1);
  });

  it('never runs expired work', async () => {
    const { clock, pool, submit } = setUp();
    submit(1);
    clock.tick();
    const expired = submit(2, { deadlineUs: 1000 });
    submit(3, { deadlineUs: 5000 });
    clock.advance(1000);
    pool.held[0]!.succeed();
    await expect(expired).rejects.toMatchObject({
      reason: 'DEADLINE_EXCEEDED',
      message: expect.stringContaining('1 ms'),
    });
    expect(pool.held[0]!.rows).toEqual([[3, 3]]);
  });
});

describe('failures', () => {
  it('retries the inputs of a failed batch alone, so that the poison hurts only itself', async () => {
    const { clock, pool, submit } = setUp();
    const promises = [1, 2, 3].map((id) => submit(id));
    clock.tick();
    pool.held[0]!.fail(new ServingError('BATCH_FAILED', 'bad row'));
    for (const poison of [false, true, false]) {
      await settle();
      expect(pool.held[0]!.batch.rows).toBe(1);
      if (poison) pool.held[0]!.fail(new ServingError('BATCH_FAILED', 'bad row'));
      else pool.held[0]!.succeed();
    }
    const outcomes = await Promise.allSettled(promises);
    expect(outcomes.map((outcome) => outcome.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    await settle();
    expect(pool.held).toHaveLength(0);
  });

  it('close does not wait for retries whose callers have gone', async () => {
    const { clock, pool, scheduler, submit } = setUp();
    const caller = new AbortController();
    for (const id of [1, 2]) submit(id, { signal: caller.signal });
    clock.tick();
    // As when the instance has to prove itself before it takes work again.
    pool.take = () => undefined;
    pool.held[0]!.fail(new ServingError('BATCH_FAILED', 'bad row'));
    await settle();
    caller.abort();
    await scheduler.close();
  });

  it('fails the batch of a crashed instance as retryable and does not run it again', async () => {
    const { clock, pool, submit } = setUp();
    const promise = submit(1);
    clock.tick();
    pool.held[0]!.fail(new ServingError('EXECUTOR_CRASHED', 'died'));
    const error = await promise.catch((thrown: ServingError) => thrown);
    expect(error).toMatchObject({ reason: 'EXECUTOR_CRASHED' });
    expect((error as ServingError).row.retryable).toBe(true);
    await settle();
    expect(pool.held).toHaveLength(0);
  });

  it('fails all that waits when no instance will come back, and refuses new calls', async () => {
    const { clock, pool, scheduler, submit } = setUp(0);
    const waiting = submit(1);
    clock.tick();
    pool.failForGood(new ServingError('BACKEND_UNAVAILABLE', 'gone'));
    await expect(waiting).rejects.toMatchObject({ reason: 'BACKEND_UNAVAILABLE' });
    expect(() => scheduler.submit([input(1)])).toThrowError(
      expect.objectContaining({ reason: 'BACKEND_UNAVAILABLE' }),
    );
  });
});

describe('close and destroy', () => {
  it('close refuses new work and resolves when what waits and runs is done', async () => {
    const { clock, pool, scheduler, submit } = setUp();
    const running = submit(1);
    clock.tick();
    const waiting = submit(2);
    let closed = false;
    const closing = scheduler.close().then(() => {
      closed = true;
    });
    expect(() => scheduler.submit([input(3)])).toThrowError(
      expect.objectContaining({ reason: 'MODEL_DRAINING' }),
    );
    pool.held[0]!.succeed();
    await running;
    await settle();
    expect(closed).toBe(false);
    pool.held[0]!.succeed();
    await waiting;
    await closing;
    await expect(scheduler.close()).resolves.toBeUndefined();
  });

  it('destroy fails what waits', async () => {
    const { scheduler, submit } = setUp(0);
    const waiting = submit(1);
    scheduler.destroy(new ServingError('SERVER_STOPPING', 'stopping'));
    await expect(waiting).rejects.toMatchObject({ reason: 'SERVER_STOPPING' });
  });
});
