import { readServerMetrics, type ServerMetrics } from '../cli/bench/server-metrics.ts';
import { planOf } from './speed-bed.ts';
import type { Measurement, SpeedRow } from './speed-row.ts';

const CALLERS = 64;
/** Requests after which memory is looked at for the first time. */
const EARLY_REQUESTS = 2000;
/** Longest that the requests may take. */
const MOST_SECONDS = 3600;

const row: SpeedRow = {
  id: 'memory',
  what: 'resident memory after many requests / after 2,000',
  target: { atMost: 1.1 },
  digits: 3,
  unit: '',
};

/** Whether the server grows with the requests that it has answered. Once, for its end is what counts. */
export const memory: Measurement = {
  rows: [row],
  async measure({ bed, requests, say }) {
    // Of its own: what other rows have done to a server would count.
    const { load, server } = await bed.fresh('int8');
    using generator = await load('queries');
    const stretch = (count: number) =>
      generator.run(planOf(MOST_SECONDS, CALLERS, { warmUpMs: 0, requests: count }));
    await stretch(EARLY_REQUESTS);
    const early = await readServerMetrics(server.metricsUrl);
    const { callsOk, failures } = await stretch(requests - EARLY_REQUESTS);
    const late = await readServerMetrics(server.metricsUrl);
    if (early === undefined || late === undefined)
      throw new Error(`${server.metricsUrl} does not tell the server's memory.`);
    const mb = ({ residentBytes, heapBytes }: ServerMetrics) =>
      `${(residentBytes / 1e6).toFixed(0)} MB (heap ${(heapBytes / 1e6).toFixed(0)})`;
    const note = `${mb(early)}, ${mb(late)} after ${callsOk + EARLY_REQUESTS} requests`;
    say(`memory: ${note}; failures ${JSON.stringify(failures)}`);
    return new Map([[row.id, { values: [late.residentBytes / early.residentBytes], note }]]);
  },
};
