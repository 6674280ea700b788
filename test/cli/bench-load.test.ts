import fc from 'fast-check';
import { expect, test } from 'vitest';
import { OK, UNANSWERED } from '../../cli/bench/door.ts';
import { Load } from '../../cli/bench/load.ts';
import type { RunPlan } from '../../cli/bench/load-plan.ts';
import { seeded } from '../../cli/bench/random.ts';
import { ManualLoadClock } from './bench-clock.ts';

const closed = (concurrency: number): RunPlan['arrivals'] => ({ kind: 'closed', concurrency });
const open = (ratePerSecond: number, mostInFlight = 1000): RunPlan['arrivals'] => ({
  kind: 'open',
  ratePerSecond,
  mostInFlight,
});

/** A load on a server that answers each call after `serviceMs`, or is mute where that is undefined. */
function bed(plan: Partial<RunPlan>, serviceMs: (call: number, nowMs: number) => number | undefined) {
  const clock = new ManualLoadClock();
  const sent: { slot: number; atMs: number; keep: boolean }[] = [];
  const mute = new Set<number>();
  const reasons: string[] = [];
  const load = new Load({
    clock,
    random: seeded(1),
    source: { next: () => ({ body: Buffer.alloc(0), texts: 2, tokens: 20 }) },
    plan: { arrivals: closed(1), warmUpMs: 100, durationMs: 1000, timeoutMs: 0, graceMs: 500, ...plan },
    door: {
      send(slot, _body, keep) {
        const call = sent.length;
        const tookMs = serviceMs(call, clock.nowMs());
        sent.push({ slot, atMs: clock.nowMs(), keep });
        if (tookMs === undefined) mute.add(slot);
        else clock.after(tookMs, () => load.settled(slot, reasons[call] ?? OK));
      },
      abandon() {
        for (const slot of mute) load.settled(slot, UNANSWERED);
        mute.clear();
      },
    },
  });
  return { clock, sent, load, reasons };
}

test('a closed loop keeps as many calls in flight as it has callers, and measures the stretch after the warm-up', async () => {
  const { clock, sent, load } = bed({ arrivals: closed(4) }, () => 10);
  const result = load.run();
  clock.advanceTo(3000, 0.5);
  expect(await result).toMatchObject({
    seconds: 1,
    calls: 400,
    callsOk: 400,
    mostInFlight: 4,
    failures: {},
    lateMs: 0,
  });
  const { texts, tokens, latenciesMs, clientCores } = await result;
  expect(texts).toBeCloseTo(800, 6);
  expect(tokens).toBeCloseTo(8000, 6);
  expect([...latenciesMs].every((ms) => ms === 10)).toBe(true);
  expect(clientCores).toBeCloseTo(0.5, 6);
  // The warm-up, the stretch and what is sent until its last call is answered, but nothing for ever.
  expect(sent.length).toBeGreaterThanOrEqual(440);
  expect(sent.length).toBeLessThanOrEqual(448);
});

test('calls that reach over an edge count by their share, so that long calls do not make the rate jump', async () => {
  // Calls of 700 ms in a stretch of 1000 ms: counted at their ends it would be 1 or 2 of them.
  const { clock, load } = bed({}, () => 700);
  const result = load.run();
  clock.advanceTo(5000);
  expect((await result).texts).toBeCloseTo((2 * 1000) / 700, 6);
});

test('an open loop does not wait for answers, and counts latency from when a call was due', async () => {
  // The server stands still until 600 ms.
  const { clock, load } = bed({ arrivals: open(100) }, (_call, nowMs) => (nowMs < 600 ? 600 - nowMs : 1));
  const result = load.run();
  clock.advanceTo(5000);
  const { calls, latenciesMs } = await result;
  expect(calls).toBeGreaterThan(60);
  expect(calls).toBeLessThan(140);
  // What was due at 100 ms was answered at 600.
  expect(latenciesMs.at(-1)).toBeGreaterThan(450);
});

test('a request that is sent late has waited', async () => {
  const { clock, load } = bed({ arrivals: open(1000), warmUpMs: 0, durationMs: 100 }, () => 1);
  const result = load.run();
  const late = clock.after.bind(clock);
  // From here on timers are 50 ms late, as on a machine that is too busy.
  clock.after = (delayMs, call) => late(delayMs < 20 ? delayMs + 50 : delayMs, call);
  clock.advanceTo(10_000);
  const { lateMs, latenciesMs } = await result;
  expect(lateMs).toBeGreaterThan(30);
  expect(latenciesMs.at(-1)).toBeGreaterThan(lateMs);
});

test('goodput leaves out answers that come after the deadline', async () => {
  const { clock, load } = bed({ timeoutMs: 20 }, (call) => (call % 2 === 0 ? 10 : 30));
  const result = load.run();
  clock.advanceTo(5000);
  const { textsInTime, callsOk } = await result;
  // Two texts in each call, and every second call in time.
  expect(textsInTime).toBe(callsOk);
});

test('failures are counted by reason, and a refused caller pauses before it asks again', async () => {
  const { clock, load, sent, reasons } = bed({ warmUpMs: 0 }, () => 0.001);
  reasons.push(...Array.from({ length: 10_000 }, () => 'QUEUE_FULL'));
  const result = load.run();
  clock.advanceTo(5000);
  const { failures, calls, callsOk, texts } = await result;
  expect(failures.QUEUE_FULL!.calls).toBe(calls);
  expect([callsOk, texts]).toEqual([0, 0]);
  expect(sent.length).toBeLessThanOrEqual(101);
});

test('a server that never answers ends the run after its grace, with every call told', async () => {
  const { clock, load } = bed({ arrivals: closed(3) }, (call) => (call < 30 ? 10 : undefined));
  const result = load.run();
  clock.advanceTo(1599);
  expect(await Promise.race([result, Promise.resolve('waiting')])).toBe('waiting');
  clock.advanceTo(1600);
  // Ten calls by each fill the warm-up; the next, due at its end, stay unanswered.
  expect((await result).failures).toEqual({ [UNANSWERED]: { calls: 3, message: '' } });
});

test('an open loop that nobody answers stops sending when too many are in flight', async () => {
  const { clock, load, sent } = bed({ arrivals: open(1000, 50), warmUpMs: 0 }, () => undefined);
  const result = load.run();
  clock.advanceTo(5000);
  const { failures, mostInFlight } = await result;
  expect([sent.length, mostInFlight]).toEqual([50, 50]);
  expect(failures.CLIENT_FULL!.calls).toBeGreaterThan(800);
  expect(failures[UNANSWERED]!.calls).toBe(50);
});

test('the first replies of the stretch are kept to be checked, and none of the warm-up', async () => {
  const { clock, load, sent } = bed({ arrivals: closed(4) }, () => 10);
  const result = load.run();
  clock.advanceTo(3000);
  await result;
  const kept = sent.filter(({ keep }) => keep);
  expect(kept).toHaveLength(16);
  expect(kept.map(({ atMs }) => atMs)).toEqual(
    sent
      .filter(({ atMs }) => atMs >= 100)
      .slice(0, 16)
      .map(({ atMs }) => atMs),
  );
});

test('stopping early reports the shorter stretch', async () => {
  const { clock, load } = bed({ arrivals: closed(2) }, () => 10);
  const result = load.run();
  clock.advanceTo(600);
  load.stop();
  clock.advanceTo(700);
  expect(await result).toMatchObject({ seconds: 0.5, callsOk: 100 });
});

test('a stretch of so many requests ends after them', async () => {
  const { clock, load, sent } = bed(
    { arrivals: closed(4), warmUpMs: 0, durationMs: 1e9, requests: 50 },
    () => 10,
  );
  const result = load.run();
  clock.advanceTo(1000);
  expect((await result).calls).toBe(50);
  expect(sent.length).toBe(50);
});

test('whatever the server does, every call is settled once and the counts agree', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          tookMs: fc.option(fc.integer({ min: 0, max: 400 }), { nil: undefined }),
          fails: fc.boolean(),
        }),
        { minLength: 1, maxLength: 60 },
      ),
      fc.oneof(
        fc.integer({ min: 1, max: 8 }).map(closed),
        fc.integer({ min: 1, max: 300 }).map((rate) => open(rate, 20)),
      ),
      async (script, arrivals) => {
        const of = (call: number) => script[call % script.length]!;
        const { clock, load, reasons } = bed({ arrivals }, (call) => of(call).tookMs);
        reasons.push(...Array.from({ length: 5000 }, (_, call) => (of(call).fails ? 'INTERNAL' : OK)));
        const result = load.run();
        clock.advanceTo(20_000);
        const { calls, callsOk, failures, latenciesMs, texts, mostInFlight } = await result;
        const failed = Object.values(failures).reduce((sum, { calls: count }) => sum + count, 0);
        expect(callsOk + failed).toBe(calls);
        expect(latenciesMs.length).toBe(callsOk);
        expect(texts).toBeGreaterThanOrEqual(0);
        expect(mostInFlight).toBeLessThanOrEqual(arrivals.kind === 'closed' ? arrivals.concurrency : 20);
      },
    ),
    { numRuns: 60 },
  );
});
