import fc from 'fast-check';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import { PRIORITIES } from '../../model-server/models/run-task.ts';
import { settle } from './scheduler-setup.ts';
import { setUpSharing, vectorOf } from './shared-embedder-setup.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
afterEach(() => void vi.useRealTimers());

/** Few texts, so that callers meet; one is too long for the model. */
const TEXTS = ['1', '2 2', '3', '4 4 4', '5 5 5 5 5 5 5 5 5 5'];

const ask = fc.record({
  do: fc.constant('ask' as const),
  texts: fc.array(fc.constantFrom(...TEXTS), { maxLength: 4 }),
  priority: fc.constantFrom(undefined, ...PRIORITIES),
  withinMs: fc.constantFrom(1, 5, 20, undefined),
  truncate: fc.constantFrom('end' as const, 'end' as const, 'error' as const),
  noCache: fc.boolean(),
});
const event = fc.oneof(
  { weight: 6, arbitrary: ask },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('succeed' as const, 'succeed' as const, 'poison' as const, 'crash' as const),
      which: fc.nat(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('abort' as const), which: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('advance' as const), byMs: fc.integer({ min: 0, max: 12 }) }),
  },
);

interface Caller {
  texts: string[];
  controller: AbortController;
  /** On the manual clock. */
  deadlineUs: number;
  isStrict: boolean;
  noCache: boolean;
  settled: number;
}

it('each caller settles once, with the vectors of its own texts, and fails only for a reason of its own', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(event, { maxLength: 50 }),
      fc.integer({ min: 1, max: 3 }),
      fc.constantFrom(0, 2000, 1e6),
      async (events, instances, cacheBytes) => {
        const { embed, pool, clock, scheduler, cache } = setUpSharing({
          instances,
          cacheBytes,
          queueItems: 1000,
        });
        const callers: Caller[] = [];
        const watched: Promise<void>[] = [];
        let faults = 0;
        const watch = (caller: Caller, outcome: ReturnType<typeof embed>) =>
          outcome.then(
            ({ vectors, texts }) => {
              caller.settled++;
              expect(vectors.map((vector) => [...vector])).toEqual(
                caller.texts.map((text) => vectorOf(text)),
              );
              expect(texts.map(({ tokens }) => tokens)).toEqual(
                caller.texts.map((text) => text.split(' ').length),
              );
              expect(caller.isStrict && texts.some(({ truncated }) => truncated)).toBe(false);
            },
            (thrown) => {
              caller.settled++;
              const { reason } = ServingError.from(thrown);
              const own: Record<string, boolean> = {
                CANCELLED: caller.controller.signal.aborted,
                DEADLINE_EXCEEDED: clock.nowUs() >= caller.deadlineUs || isForeseen(thrown, caller),
                DEADLINE_UNREACHABLE: caller.deadlineUs < Number.POSITIVE_INFINITY,
                INPUT_TOO_LONG: caller.isStrict && caller.texts.includes(TEXTS.at(-1)!),
                EXECUTOR_CRASHED: faults > 0,
                BATCH_FAILED: faults > 0,
              };
              expect([reason, own[reason]]).toEqual([reason, true]);
            },
          );
        for (const next of events) {
          if (next.do === 'ask') {
            const { texts, priority, withinMs, truncate, noCache } = next;
            const controller = new AbortController();
            const deadlineUs =
              withinMs === undefined ? Number.POSITIVE_INFINITY : clock.nowUs() + withinMs * 1000;
            const caller = {
              texts,
              controller,
              deadlineUs,
              isStrict: truncate === 'error',
              noCache,
              settled: 0,
            };
            callers.push(caller);
            const deadlineMs = withinMs === undefined ? undefined : Date.now() + withinMs;
            watched.push(
              watch(
                caller,
                embed(texts, { signal: controller.signal, deadlineMs, priority, truncate, noCache }),
              ),
            );
          } else if (next.do === 'advance') {
            vi.setSystemTime(Date.now() + next.byMs);
            clock.advance(next.byMs * 1000);
          } else if (next.do === 'abort')
            callers[next.which % Math.max(1, callers.length)]?.controller.abort();
          else if (pool.held.length > 0) {
            const held = pool.held[next.which % pool.held.length]!;
            if (next.do !== 'succeed') faults++;
            if (next.do === 'succeed') held.succeed();
            else
              held.fail(new ServingError(next.do === 'crash' ? 'EXECUTOR_CRASHED' : 'BATCH_FAILED', next.do));
          }
          // Some arrive together, others one after the other.
          if (next.do !== 'ask' || next.texts.length % 2 === 0) clock.tick();
          await settle();
        }
        const isWaiting = callers.some(({ settled }) => settled === 0);
        // A call that shares nothing leaves the rest of its texts to the scheduler when one has failed.
        const isShared = callers.every(({ noCache }) => !noCache);
        if (!isWaiting && isShared) expect(scheduler.queuedItems).toBe(0);
        for (clock.tick(); pool.held.length > 0; clock.tick()) {
          pool.held[0]!.succeed();
          await settle();
        }
        await Promise.all(watched);
        expect(callers.map(({ settled }) => settled)).toEqual(callers.map(() => 1));
        expect(scheduler.queuedItems).toBe(0);
        expect(cache.figures.bytes).toBeLessThanOrEqual(cacheBytes);
        await scheduler.close();
        expect(clock.timers).toBe(0);
      },
    ),
    { numRuns: 500 },
  );
});

/** The scheduler fails early what it knows it can't do in time. */
function isForeseen(thrown: unknown, { deadlineUs }: Caller): boolean {
  return deadlineUs < Number.POSITIVE_INFINITY && String(thrown).includes('its batch would take about');
}
