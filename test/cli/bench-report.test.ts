import { expect, test } from 'vitest';
import type { LimitRate } from '../../cli/bench/limit.ts';
import type { LoadResult } from '../../cli/bench/load-plan.ts';
import { asMarkdown, asText, type Heading } from '../../cli/bench/report.ts';
import { type Measured, type Round, runRounds } from '../../cli/bench/rounds.ts';
import { summarise } from '../../cli/bench/summary.ts';

const result = (more: Partial<LoadResult> = {}): LoadResult => ({
  seconds: 2,
  texts: 2000,
  tokens: 20_000,
  calls: 3,
  callsOk: 3,
  textsInTime: 1500,
  latenciesMs: Float64Array.of(1, 2, 30),
  failures: {},
  clientCores: 0.5,
  lateMs: 0.1,
  mostInFlight: 3,
  ...more,
});
const work = {
  paddingShare: 0.04,
  meanBatch: 8,
  meanBatchMs: 5,
  cores: 1.4,
  cpuUsPerToken: 100,
  residentBytes: 1,
};
const measured = (more: Partial<LoadResult> = {}): Measured => ({ result: result(more), work });
const rate = (tokensPerSecond: number): LimitRate => ({
  textsPerSecond: tokensPerSecond / 10,
  tokensPerSecond,
  cpuUsPerToken: 80,
  medianMs: 1,
});
const heading: Heading = {
  load: '32 callers',
  machine: '2 cores',
  served: 'mini version 1',
  against: undefined,
  limit: 'ONNX Runtime alone',
  deadlineMs: 0,
};

test('ratios are made within a round, of tokens where they are known', () => {
  const rounds: Round[] = [
    { served: measured(), against: undefined, limit: rate(12_500) },
    { served: measured({ tokens: 10_000 }), against: undefined, limit: rate(10_000) },
    { served: measured({ tokens: 40_000 }), against: undefined, limit: rate(20_000) },
  ];
  const { limit, served } = summarise(rounds, 2);
  expect(limit!.ratio).toEqual({ median: 0.8, min: 0.5, max: 1 });
  // The client leaves one and a half of two cores.
  expect(limit!.ratioToRest!.median).toBeCloseTo(0.8 / 0.75, 9);
  expect(limit!.ratioOfCpu!.median).toBeCloseTo(0.8, 9);
  expect(served.textsPerSecond!.median).toBe(1000);
  const unknown = { served: measured({ tokens: Number.NaN }), against: undefined, limit: rate(12_500) };
  expect(summarise([unknown], 2).limit!.ratio!.median).toBeCloseTo(1000 / 1250, 9);
});

test('latencies of all rounds are one, failures add up, and the other server is compared', () => {
  const busy = { reason: { calls: 2, message: 'busy' } };
  const rounds: Round[] = [
    { served: measured({ failures: busy }), against: measured({ texts: 500 }), limit: undefined },
    {
      served: measured({ failures: busy, latenciesMs: Float64Array.of(60) }),
      against: measured({ texts: 1000, latenciesMs: Float64Array.of(120) }),
      limit: undefined,
    },
    // Ctrl-C has cut this one off before the other server's turn.
    { served: measured(), against: undefined, limit: undefined },
  ];
  const { served, against, comparison, limit } = summarise(rounds, 2);
  expect(limit).toBeUndefined();
  expect(served.failures).toEqual({ reason: { calls: 4, message: 'busy' } });
  expect([served.p50Ms, served.maxMs]).toEqual([2, 60]);
  expect(against!.calls).toBe(6);
  expect(comparison!.rate).toEqual({ median: 3, min: 2, max: 4 });
  expect(comparison!.p99).toEqual({ median: 0.75, min: 0.5, max: 1 });
});

test('the report tells every figure once, as table and as markdown', () => {
  const summary = summarise(
    [
      {
        served: measured({ failures: { QUEUE_FULL: { calls: 1, message: 'full' } } }),
        against: undefined,
        limit: rate(12_500),
      },
    ],
    2,
  );
  const text = asText({ ...heading, deadlineMs: 200 }, summary);
  expect(text.split('\n').map((line) => line.trimEnd())).toEqual([
    'server  mini version 1',
    'load    32 callers',
    'limit   ONNX Runtime alone',
    'machine 2 cores',
    '',
    'MEDIAN OF 1 (MIN..MAX)                        SERVER',
    'texts/s                                       1,000',
    'tokens/s                                      10,000',
    'goodput, texts/s within 200 ms                750',
    'p50                                           2.0 ms',
    'p95                                           30.0 ms',
    'p99                                           30.0 ms',
    'max                                           30.0 ms',
    'calls, failed                                 3, 1',
    'padding                                       4.0 %',
    'texts in a batch                              8.0',
    'server, cores                                 1.40',
    'client, cores                                 0.50',
    'sent late, p99                                0.1 ms',
    'limit, texts/s                                1,250',
    'ratio to the limit of the machine             0.800',
    'ratio to the limit of what the client leaves  1.067',
    'CPU of the limit for a token / of the server  0.800',
    '',
    'server: 1 calls failed with QUEUE_FULL: full',
  ]);
  const markdown = asMarkdown(heading, summary);
  expect(markdown).toContain('| ratio to the limit of the machine | 0.800 |');
  expect(markdown).not.toContain('goodput');
});

test('nothing that was answered shows as such', () => {
  const none = measured({ texts: 0, tokens: 0, callsOk: 0, latenciesMs: new Float64Array() });
  const text = asText(
    heading,
    summarise([{ served: { ...none, work: undefined }, against: undefined, limit: undefined }], 2),
  );
  expect(text).toMatch(/^p50 +-$/m);
  expect(text).toMatch(/^padding +-$/m);
  expect(text).not.toMatch(/NaN|Infinity|undefined/);
});

test('rounds go to and fro, and Ctrl-C keeps what was measured', async () => {
  const order: string[] = [];
  const ended = new AbortController();
  const contender = (name: string) => ({
    generator: {
      run: async () => {
        order.push(name);
        return result();
      },
      stop: () => order.push(`stop ${name}`),
    },
  });
  const limit = {
    run: async (durationMs: number) => {
      if (durationMs === 2000) order.push('limit');
      return rate(1);
    },
  };
  const plan = {
    arrivals: { kind: 'closed' as const, concurrency: 1 },
    warmUpMs: 0,
    durationMs: 2000,
    timeoutMs: 0,
    graceMs: 0,
  };
  const rounds = await runRounds({
    served: contender('served'),
    against: contender('against'),
    limit,
    plan,
    rounds: 5,
    signal: ended.signal,
    onStep: ({ round, what }) => {
      if (round === 3 && what === 'against') ended.abort();
    },
  });
  // The load that runs next is told to stop; the third round has what it had.
  expect(order).toEqual([
    'limit',
    'served',
    'against',
    'against',
    'served',
    'limit',
    'limit',
    'served',
    'against',
  ]);
  expect(rounds.map(({ against }) => against !== undefined)).toEqual([true, true, true]);
});

test('Ctrl-C does not wait for the limit, and rounds without a measured server are left out', async () => {
  const ended = new AbortController();
  const rounds = await runRounds({
    served: { generator: { run: async () => result(), stop: () => undefined } },
    limit: { run: () => new Promise(() => undefined) },
    plan: {
      arrivals: { kind: 'closed', concurrency: 1 },
      warmUpMs: 0,
      durationMs: 2000,
      timeoutMs: 0,
      graceMs: 0,
    },
    rounds: 3,
    signal: ended.signal,
    onStep: () => setImmediate(() => ended.abort()),
  });
  expect(rounds).toEqual([]);
});
