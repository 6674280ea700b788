import { median, quantile } from '../cli/bench/figures.ts';
import type { LoadGenerator } from '../cli/bench/load-generator.ts';
import type { LoadResult } from '../cli/bench/load-plan.ts';
import { readServerMetrics, workBetween } from '../cli/bench/server-metrics.ts';
import type { ServerConfig } from '../model-server/config.ts';
import { planOf } from './speed-bed.ts';
import type { Measurement, SpeedRow } from './speed-row.ts';

const CALLERS = 32;
const DEADLINE_MS = 200;
const MOST_IN_FLIGHT = 20_000;
/** Longest wait for a queue to empty. */
const MOST_DRAIN_SECONDS = 120;
/** A 99th percentile needs some calls. */
const INTERACTIVE_SECONDS = 10;

const rateOf = ({ texts, seconds }: LoadResult) => texts / seconds;
const open = (ratePerSecond: number) => ({
  arrivals: { kind: 'open' as const, ratePerSecond, mostInFlight: MOST_IN_FLIGHT },
});

const loneRow: SpeedRow = {
  id: 'lone',
  what: 'one client, one text of 12 tokens: p50 above the bare session',
  target: { atMost: 1.5 },
  digits: 2,
  unit: ' ms',
};

/** What the server adds to the run of one short text. */
export const lone: Measurement = {
  rows: [loneRow],
  async measure({ bed, rounds, seconds, say }) {
    const { load, limit: openLimit } = await bed.open('int8');
    await using limit = await openLimit('lone', 'latency');
    using generator = await load('lone');
    const values: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const { medianMs } = await limit.run(seconds * 1000);
      const { latenciesMs } = await generator.run(planOf(seconds, 1));
      const p50Ms = quantile(latenciesMs, 0.5);
      values.push(p50Ms - medianMs);
      say(`lone, round ${round + 1}: bare ${medianMs.toFixed(2)} ms, served ${p50Ms.toFixed(2)} ms`);
    }
    return new Map([[loneRow.id, { values }]]);
  },
};

/** Answers in time at twice the rate that the server can do, against that rate. */
export function goodput(admission: ServerConfig['admission']): Measurement {
  const row: SpeedRow = {
    id: admission === 'fifo' ? 'goodput-fifo' : 'goodput',
    what: `goodput at 2x load, ${DEADLINE_MS} ms / capacity${admission === 'fifo' ? ', all admitted in order' : ''}`,
    target: admission === 'fifo' ? undefined : { atLeast: 0.9 },
    digits: 3,
    unit: '',
  };
  return {
    rows: [row],
    async measure({ bed, rounds, seconds, say }) {
      const { load } = await bed.open('int8', { admission });
      using closed = await load('queries');
      using overload = await load('queries', { headers: { 'grpc-timeout': `${DEADLINE_MS}m` } });
      const values: number[] = [];
      for (let round = 0; round < rounds; round++) {
        // Answered when what the last round has left in the queue is done.
        await closed.run(planOf(MOST_DRAIN_SECONDS, 1, { warmUpMs: 0, requests: 1 }));
        const capacity = rateOf(await closed.run(planOf(seconds, CALLERS)));
        const plan = planOf(seconds, 0, { ...open(2 * capacity), timeoutMs: DEADLINE_MS });
        const { textsInTime, seconds: took, failures } = await overload.run(plan);
        values.push(textsInTime / took / capacity);
        const failed = Object.entries(failures).map(([reason, { calls }]) => `${calls} ${reason}`);
        say(
          `${row.id}, round ${round + 1}: capacity ${capacity.toFixed(0)}, in time ${(textsInTime / took).toFixed(0)} texts/s; ${failed.join(', ')}`,
        );
      }
      return new Map([[row.id, { values }]]);
    },
  };
}

const interactiveRow: SpeedRow = {
  id: 'interactive',
  what: 'interactive p99 beside bulk, less one batch / unloaded p99',
  target: { atMost: 2 },
  digits: 2,
  unit: '',
};

/** Urgent calls at a tenth of what the server can do, alone and while 64 callers send 32 texts each. */
export const interactive: Measurement = {
  rows: [interactiveRow],
  async measure({ bed, rounds, seconds, say }) {
    const { load, server } = await bed.open('int8');
    using urgent = await load('queries', { headers: { 'nereid-priority': 'interactive' } });
    using bulk = await load('queries', { textsPerCall: 32, headers: { 'nereid-priority': 'bulk' } });
    const capacity = rateOf(await urgent.run(planOf(seconds, CALLERS)));
    const plan = planOf(INTERACTIVE_SECONDS, 0, open(capacity / 10));
    const p99Of = async (generator: LoadGenerator) => quantile((await generator.run(plan)).latenciesMs, 0.99);
    const values: number[] = [];
    const details: { aloneMs: number; besideMs: number; batchMs: number }[] = [];
    for (let round = 0; round < rounds; round++) {
      const aloneMs = await p99Of(urgent);
      const before = await readServerMetrics(server.metricsUrl);
      // It outlasts the urgent calls, and is ended with them.
      const flood = bulk.run(planOf(INTERACTIVE_SECONDS * 3, 64));
      const besideMs = await p99Of(urgent);
      bulk.stop();
      await flood;
      const batchMs = workBetween(before, await readServerMetrics(server.metricsUrl))?.meanBatchMs ?? 0;
      values.push((besideMs - batchMs) / aloneMs);
      details.push({ aloneMs, besideMs, batchMs });
      say(
        `interactive, round ${round + 1}: p99 alone ${aloneMs.toFixed(1)} ms, beside bulk ${besideMs.toFixed(1)} ms, a batch ${batchMs.toFixed(1)} ms`,
      );
    }
    const middle = (of: (each: (typeof details)[number]) => number) => median(details.map(of)).toFixed(1);
    const note = `p99 ${middle(({ aloneMs }) => aloneMs)} ms alone, ${middle(({ besideMs }) => besideMs)} ms beside bulk, a batch ${middle(({ batchMs }) => batchMs)} ms`;
    return new Map([[interactiveRow.id, { values, note }]]);
  },
};
