import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import { PRIORITIES, type Priority } from '../../model-server/scheduler/priority.ts';
import type { GatedPool, HeldBatch } from './gated-pool.ts';
import { values } from './raw-tensors.ts';
import { call, input, settle, setUp } from './scheduler-setup.ts';

/** Tight ones, so that random texts meet them. */
const limits = { maxItems: 4, maxTokens: 30 };

describe('under any sequence of events', () => {
  const event = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constant('submit' as const),
        length: fc.integer({ min: 1, max: 12 }),
        inputs: fc.integer({ min: 1, max: 3 }),
        priority: fc.constantFrom(...PRIORITIES),
        tenant: fc.constantFrom('', 'a', 'b'),
        withinUs: fc.constantFrom(50, 500, 5000, Number.POSITIVE_INFINITY),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('infer' as const),
        rows: fc.integer({ min: 1, max: 5 }),
        width: fc.integer({ min: 1, max: 2 }),
        joinable: fc.boolean(),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constantFrom('succeed' as const, 'poison' as const, 'crash' as const),
        which: fc.nat(),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('abort' as const), which: fc.nat() }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant('advance' as const), byUs: fc.integer({ min: 0, max: 3000 }) }),
    },
  );

  it('settles every admitted text and tensor exactly once, and with its own result', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(event, { maxLength: 60 }),
        fc.integer({ min: 1, max: 3 }),
        async (events, instances) => {
          const { clock, pool, scheduler } = setUp(instances, { batch: limits });
          const controllers: AbortController[] = [];
          const settled: number[] = [];
          let nextId = 1;
          const watch = <Result>(promise: Promise<Result>, id: number, check: (result: Result) => void) =>
            promise.then(
              (result) => {
                settled.push(id);
                check(result);
              },
              (error) => {
                settled.push(id);
                expect(error).toBeInstanceOf(ServingError);
              },
            );
          const watched: Promise<void>[] = [];
          const texts = new Map<number, { priority: Priority; deadlineUs: number }>();
          const seen = new Set<HeldBatch>();
          for (const next of events) {
            if (next.do === 'submit') {
              const controller = new AbortController();
              const ids = Array.from({ length: next.inputs }, () => nextId++);
              const inputs = ids.map((id) => input(...Array.from({ length: next.length }, () => id)));
              try {
                const promises = scheduler.submit(inputs, {
                  signal: controller.signal,
                  deadlineUs: clock.nowUs() + next.withinUs,
                  priority: next.priority,
                  tenant: next.tenant,
                });
                controllers.push(controller);
                const deadlineUs = clock.nowUs() + next.withinUs;
                for (const id of ids) texts.set(id, { priority: next.priority, deadlineUs });
                for (const [index, promise] of promises.entries())
                  watched.push(
                    watch(promise, ids[index]!, ({ output }) =>
                      expect(Array.from(output)).toEqual([ids[index], ids[index]! * next.length]),
                    ),
                  );
              } catch (error) {
                expect(['QUEUE_FULL', 'DEADLINE_UNREACHABLE']).toContain((error as ServingError).reason);
              }
            } else if (next.do === 'infer') {
              const id = nextId++;
              const { rows, width, joinable } = next;
              const given = call(Array<number>(rows).fill(id), { width, joinable });
              const controller = new AbortController();
              controllers.push(controller);
              try {
                const promise = scheduler.submitTensors(given, {
                  signal: controller.signal,
                  deadlineUs: clock.nowUs() + 5000,
                });
                watched.push(
                  watch(promise, id, ({ tensors }) => {
                    expect(tensors.map((tensor) => tensor.shape)).toEqual([[rows, width]]);
                    expect(values(tensors[0]!)).toEqual(Array<number>(rows * width).fill(id * 2));
                  }),
                );
              } catch (error) {
                expect(error).toMatchObject({ reason: 'QUEUE_FULL' });
              }
            } else if (next.do === 'advance') clock.advance(next.byUs);
            else if (next.do === 'abort') controllers[next.which % Math.max(1, controllers.length)]?.abort();
            else end(pool, next.do, next.which);
            clock.tick();
            await settle();
            for (const held of pool.held) {
              if (!seen.has(held)) expectAllowed(held, texts, clock.nowUs());
              seen.add(held);
            }
          }
          while (pool.held.length > 0) {
            pool.held[0]!.succeed();
            await settle();
          }
          await Promise.all(watched);
          expect(new Set(settled).size).toBe(settled.length);
          expect(settled).toHaveLength(watched.length);
          expect(scheduler.queuedItems).toBe(0);
          expect(scheduler.queuedTokens).toBe(0);
          await scheduler.close();
        },
      ),
      { numRuns: 200 },
    );
  });
});

/** A batch that has just been handed over. */
function expectAllowed(
  { batch, rows }: HeldBatch,
  texts: ReadonlyMap<number, { priority: Priority; deadlineUs: number }>,
  nowUs: number,
): void {
  if (batch.kind === 'tensors') {
    // What is larger than a batch may be runs alone; nothing else is.
    if (new Set(rows.map(String)).size > 1) expect(batch.rows).toBeLessThanOrEqual(limits.maxItems);
    return;
  }
  expect(batch.rows).toBeLessThanOrEqual(limits.maxItems);
  if (batch.rows > 1)
    expect(batch.rows * Math.max(...rows.map((row) => row.length))).toBeLessThanOrEqual(limits.maxTokens);
  const members = rows.map(([id]) => texts.get(id!)!);
  expect(new Set(members.map(({ priority }) => priority)).size).toBe(1);
  for (const { deadlineUs } of members) expect(deadlineUs).toBeGreaterThan(nowUs);
}

function end(pool: GatedPool, how: 'succeed' | 'poison' | 'crash', which: number): void {
  const held = pool.held[which % Math.max(1, pool.held.length)];
  if (how === 'succeed') held?.succeed();
  else held?.fail(new ServingError(how === 'poison' ? 'BATCH_FAILED' : 'EXECUTOR_CRASHED', how));
}
