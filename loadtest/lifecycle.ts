import { cp, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BenchClient } from './client.ts';
import { type BenchServer, startServer } from './server.ts';

const HELP = `Usage: npm run bench -- lifecycle [options]

How models come and go, on the shipped model: the first request to a model that is not loaded, a hundred of them at once,
new versions dropped into the folder while requests run, and memory over loads and unloads.

  --switches N      new versions under load (default 6)
  --concurrency N   requests in flight meanwhile (default 8)
  --seconds N       steady load before each of them (default 4)
  --cycles N        loads and unloads (default 10)
  --json            print the result as JSON`;

const { values } = parseArgs({
  options: {
    switches: { type: 'string', default: '6' },
    concurrency: { type: 'string', default: '8' },
    seconds: { type: 'string', default: '4' },
    cycles: { type: 'string', default: '10' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}

const MODEL = 'all-minilm-l6-v2';
const shipped = fileURLToPath(new URL(`../model-repository/${MODEL}`, import.meta.url));
const MB = 1e6;
const say = (line: string) => values.json || console.log(line);
const quantile = (sorted: readonly number[], q: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
const round = (value: number, digits = 1) => Number(value.toFixed(digits));

interface VersionState {
  version: number;
  state: string;
}

/** One call of the admin service, as JSON over HTTP. */
async function admin<T>(server: BenchServer, method: string, message: object): Promise<T> {
  const response = await fetch(`${server.httpUrl}/nereid.admin.v1.AdminService/${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(message),
  });
  if (!response.ok) throw new Error(`${method}: ${await response.text()}`);
  return (await response.json()) as T;
}

async function loads(server: BenchServer): Promise<number> {
  const text = await (await fetch(server.metricsUrl)).text();
  const counts = [...text.matchAll(/^nereid_model_load_seconds_count\{.*\} (\d+)$/gm)];
  return counts.reduce((sum, match) => sum + Number(match[1]), 0);
}

/** The first request to a model that lies in the folder only, and a hundred at once. */
async function coldStarts() {
  const timed = async (requests: number) => {
    const server = await startServer({ preload: 'none', embeddingCacheMb: 0 });
    const client = new BenchClient(server.grpcAddress);
    // The connection is made by a call that loads nothing.
    const beforeBytes = await server.residentBytes();
    await client.ready();
    const started = performance.now();
    await Promise.all(Array.from({ length: requests }, (_, i) => client.embed([`first request ${i}`])));
    const ms = performance.now() - started;
    const result = { ms, loads: await loads(server), beforeBytes, afterBytes: await server.residentBytes() };
    client.close();
    await server.stop();
    return result;
  };
  return { one: await timed(1), hundred: await timed(100) };
}

/** Requests without pause, whose latencies are sorted into what was going on when they were sent. */
class Traffic {
  phase = 'steady';
  readonly latencies = new Map<string, number[]>();
  readonly versions = new Set<number>();
  failures = 0;
  #isStopped = false;
  readonly #done: Promise<unknown>;

  constructor(client: BenchClient, concurrency: number) {
    let sent = 0;
    const caller = async () => {
      while (!this.#isStopped) {
        const { phase } = this;
        const started = performance.now();
        try {
          const { model } = await client.embed([`how are batches formed when version ${sent++} comes`]);
          this.versions.add(model!.version);
          const of = this.latencies.get(phase) ?? [];
          of.push(performance.now() - started);
          this.latencies.set(phase, of);
        } catch {
          this.failures++;
        }
      }
    };
    this.#done = Promise.all(Array.from({ length: concurrency }, caller));
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#done;
  }

  sorted(phase: string): number[] {
    return (this.latencies.get(phase) ?? []).toSorted((a, b) => a - b);
  }
}

/** New versions dropped into the folder while requests run. */
async function switches(repository: string) {
  const server = await startServer({
    modelRepository: repository,
    repositoryPollSecs: 0.25,
    embeddingCacheMb: 0,
  });
  const client = new BenchClient(server.grpcAddress);
  const versionsNow = async () =>
    (await admin<{ models?: VersionState[] }>(server, 'ListModels', {})).models ?? [];
  await client.embed(['warm']);
  const traffic = new Traffic(client, Number(values.concurrency));
  const tookMs: number[] = [];
  // What the first requests of a fresh server take is not what is compared.
  traffic.phase = 'warm';
  await pause(2000);
  for (let i = 0; i < Number(values.switches); i++) {
    traffic.phase = 'steady';
    await pause(Number(values.seconds) * 1000);
    const version = i + 2;
    const staging = join(repository, MODEL, `.${version}`);
    await cp(join(shipped, '1'), staging, { recursive: true });
    traffic.phase = 'switch';
    const started = performance.now();
    await rename(staging, join(repository, MODEL, String(version)));
    // The switch is over when the new version is the only one left.
    for (let last: VersionState[] = []; last.length !== 1 || last[0]!.version !== version; ) {
      await pause(50);
      last = (await versionsNow()).filter(({ state }) => state !== 'unloaded');
    }
    tookMs.push(performance.now() - started);
  }
  await traffic.stop();
  client.close();
  await server.stop();
  const [steady, during] = [traffic.sorted('steady'), traffic.sorted('switch')];
  return {
    switches: tookMs.length,
    tookMs: quantile(
      tookMs.toSorted((a, b) => a - b),
      0.5,
    ),
    requests: steady.length + during.length,
    failures: traffic.failures,
    versions: [...traffic.versions].sort((a, b) => a - b),
    steady: { requests: steady.length, p50: quantile(steady, 0.5), p99: quantile(steady, 0.99) },
    during: { requests: during.length, p50: quantile(during, 0.5), p99: quantile(during, 0.99) },
  };
}

/** Resident memory after each unload. */
async function memory() {
  const server = await startServer({ preload: 'none', embeddingCacheMb: 0 });
  const beforeBytes = await server.residentBytes();
  const loaded: number[] = [];
  const unloaded: number[] = [];
  for (let cycle = 0; cycle < Number(values.cycles); cycle++) {
    await admin(server, 'LoadModel', { model: MODEL });
    loaded.push(await server.residentBytes());
    await admin(server, 'UnloadModel', { model: MODEL });
    unloaded.push(await server.residentBytes());
  }
  await server.stop();
  return { beforeBytes, loaded, unloaded };
}

const repository = await mkdtemp(join(tmpdir(), 'nereid-bench-'));
try {
  await mkdir(join(repository, MODEL));
  await cp(shipped, join(repository, MODEL), { recursive: true });
  const cold = await coldStarts();
  const mb = (bytes: number) => Math.round(bytes / MB);
  say(
    `cold   : first answer after ${round(cold.one.ms, 0)} ms (load, check, one text); resident ${mb(cold.one.beforeBytes)} -> ${mb(cold.one.afterBytes)} MB`,
  );
  say(`herd   : 100 first requests at once: ${round(cold.hundred.ms, 0)} ms, ${cold.hundred.loads} load`);
  const swapped = await switches(repository);
  const ratio = round(swapped.during.p99 / swapped.steady.p99, 2);
  say(
    `switch : ${swapped.switches} new versions under load, ${round(swapped.tookMs, 0)} ms each; ${swapped.requests} requests, ${swapped.failures} failed; p50 ${round(swapped.steady.p50)} -> ${round(swapped.during.p50)} ms, p99 ${round(swapped.steady.p99)} -> ${round(swapped.during.p99)} ms (${ratio} of steady)`,
  );
  const cycles = await memory();
  const last = cycles.unloaded.at(-1) ?? 0;
  const growth = round(last / (cycles.unloaded[1] ?? last), 3);
  say(
    `memory : ${mb(cycles.beforeBytes)} MB before the first load; loaded ${cycles.loaded.map(mb).join(' ')}; unloaded ${cycles.unloaded.map(mb).join(' ')} MB (last to second: ${growth})`,
  );
  if (values.json)
    console.log(
      JSON.stringify({ cold, switch: { ...swapped, p99Ratio: ratio }, memory: { ...cycles, growth } }),
    );
  process.exitCode = swapped.failures === 0 && cold.hundred.loads === 1 ? 0 : 1;
} finally {
  await rm(repository, { recursive: true, force: true });
}
