import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { LoadGenerator } from '../cli/bench/load-generator.ts';
import type { LoadResult } from '../cli/bench/load-plan.ts';
import { readServerMetrics } from '../cli/bench/server-metrics.ts';
import { table } from '../cli/table.ts';
import { growthOf, type Sample } from './soak-growth.ts';
import { Saboteur } from './soak-saboteur.ts';
import { type Bedded, planOf, SpeedBed } from './speed-bed.ts';

const HELP = `Usage: npm run bench -- soak [options]

Keeps a server under mixed traffic for a while: short and long texts, single calls, calls of 32 texts, a stream, deadlines that
are too short, calls that are taken back, and bad inputs. Compares resident memory and heap in the second fifth of the time
with those of the last fifth, and ends with 1 when one has grown by more than it may, or a good call has failed.

  --minutes N      length, may be a fraction (default 10)
  --growth N       largest ratio of the last fifth to the second one (default 1.1)
  --json           print the result as JSON`;

const SAMPLE_MS = 1000;
/** Rounds of the traffic, so that what each part has answered is told as it goes. */
const STRETCH_SECONDS = 10;

/** What a part of the traffic may fail with; anything else fails the soak. */
interface Part {
  name: string;
  generator: LoadGenerator;
  concurrency: number;
  timeoutMs: number;
  mayFailWith: readonly string[];
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '10' },
      growth: { type: 'string', default: '1.1' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return console.log(HELP);
  const durationMs = Number(values.minutes) * 60_000;
  await using bed = new SpeedBed(undefined);
  // It is fed with mistakes on purpose; each would be a line.
  const bedded = await bed.open('int8', { logLevel: 'error' });
  const parts = await partsOf(bedded);
  await using saboteur = new Saboteur(bedded.server.grpcAddress);
  const samples: Sample[] = [];
  const untilMs = performance.now() + durationMs;
  const sampling = sample(bedded.server.metricsUrl, untilMs, samples);
  const spoiling = saboteur.run(untilMs);
  const [counts] = await Promise.all([traffic(parts, untilMs), sampling, spoiling]);
  report({
    counts,
    parts,
    samples,
    spoilt: saboteur.counts,
    mostGrowth: Number(values.growth),
    json: values.json,
  });
}

async function partsOf({ load }: Bedded): Promise<Part[]> {
  const refusals = ['DEADLINE_EXCEEDED', 'DEADLINE_UNREACHABLE', 'QUEUE_FULL', 'RATE_LIMITED'];
  return [
    { name: 'queries', generator: await load('queries'), concurrency: 8, timeoutMs: 0, mayFailWith: [] },
    {
      name: 'passages',
      generator: await load('passages', { textsPerCall: 32 }),
      concurrency: 1,
      timeoutMs: 0,
      mayFailWith: [],
    },
    {
      name: 'stream',
      generator: await load('queries', { mode: 'stream' }),
      concurrency: 8,
      timeoutMs: 0,
      mayFailWith: [],
    },
    {
      name: 'hurried',
      generator: await load('passages', { headers: { 'grpc-timeout': '5m' } }),
      concurrency: 4,
      timeoutMs: 5,
      mayFailWith: refusals,
    },
  ];
}

type Counts = Map<string, { ok: number; failures: Record<string, number> }>;

/** All parts at once, stretch after stretch. */
async function traffic(parts: readonly Part[], untilMs: number): Promise<Counts> {
  const counts: Counts = new Map(parts.map(({ name }) => [name, { ok: 0, failures: {} }]));
  while (performance.now() < untilMs) {
    const seconds = Math.min(STRETCH_SECONDS, Math.max(0.1, (untilMs - performance.now()) / 1000));
    const plan = (part: Part) =>
      planOf(seconds, part.concurrency, { warmUpMs: 0, timeoutMs: part.timeoutMs });
    const results = await Promise.all(parts.map((part) => part.generator.run(plan(part))));
    for (const [index, result] of results.entries()) add(counts.get(parts[index]!.name)!, result);
    const left = Math.max(0, (untilMs - performance.now()) / 1000).toFixed(0);
    if (process.stderr.isTTY) process.stderr.write(`\r${left} s left   `);
  }
  return counts;
}

function add(
  count: { ok: number; failures: Record<string, number> },
  { callsOk, failures }: LoadResult,
): void {
  count.ok += callsOk;
  for (const [reason, { calls }] of Object.entries(failures))
    count.failures[reason] = (count.failures[reason] ?? 0) + calls;
}

async function sample(metricsUrl: string, untilMs: number, samples: Sample[]): Promise<void> {
  while (performance.now() < untilMs) {
    const metrics = await readServerMetrics(metricsUrl);
    if (metrics !== undefined) samples.push(metrics);
    await pause(SAMPLE_MS);
  }
}

interface Outcome {
  counts: Counts;
  parts: readonly Part[];
  samples: readonly Sample[];
  spoilt: Readonly<Record<string, number>>;
  mostGrowth: number;
  json: boolean;
}

function report({ counts, parts, samples, spoilt, mostGrowth, json }: Outcome): void {
  const growth = growthOf(samples);
  const unexpected = parts.flatMap(({ name, mayFailWith }) =>
    Object.entries(counts.get(name)!.failures).flatMap(([reason, calls]) =>
      mayFailWith.includes(reason) ? [] : [`${name}: ${calls} calls failed with ${reason}`],
    ),
  );
  const grown = Object.entries(growth).flatMap(([what, { ratio }]) =>
    ratio > mostGrowth ? [`${what} grew to ${ratio.toFixed(3)} times, more than ${mostGrowth}`] : [],
  );
  if (json) console.log(JSON.stringify({ counts: Object.fromEntries(counts), spoilt, growth, unexpected }));
  else {
    const rows = [...counts].map(([name, { ok, failures }]) => [name, String(ok), JSON.stringify(failures)]);
    console.log(table(['TRAFFIC', 'ANSWERED', 'FAILED'], rows));
    console.log(`spoilt: ${JSON.stringify(spoilt)}\n`);
    for (const [what, { second, last, ratio }] of Object.entries(growth))
      console.log(
        `${what}: ${(second / 1e6).toFixed(1)} MB in the second fifth, ${(last / 1e6).toFixed(1)} MB in the last: ${ratio.toFixed(3)}`,
      );
  }
  for (const line of [...unexpected, ...grown]) console.error(`failed: ${line}`);
  process.exitCode = unexpected.length + grown.length === 0 ? 0 : 1;
}

// Servers and loads end with the connection to this process.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
await main();
