import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { BenchClient, type LoopResult } from './client.ts';
import { startServer } from './server.ts';

const HELP = `Usage: npm run bench -- [throughput] [options]     (the other benchmark: npm run bench -- lifecycle --help)

Texts per second through the model server's gRPC, against the same model driven directly in worker threads, twice: in
batches of 32 as the texts come, and in ideal batches of 32 sorted by length, which is the limit. All run in turns in one
run, so that the ratios hold on a noisy machine.

  --seconds N       length of each measurement (default 4)
  --rounds N        rounds; the median counts (default 5)
  --concurrency N   texts in flight (default 32)
  --tokens N        tokens of a text, about (default 16)
  --json            print the result as JSON`;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '5' },
    concurrency: { type: 'string', default: '32' },
    tokens: { type: 'string', default: '16' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
const durationMs = Number(values.seconds) * 1000;
const rounds = Number(values.rounds);
const concurrency = Number(values.concurrency);
const modelFile = fileURLToPath(
  new URL('../model-repository/all-minilm-l6-v2/1/model.onnx', import.meta.url),
);

/** Short questions of common words; every text is another one, so that nothing can be answered from a cache. */
function makeTexts(count: number, tokens: number): string[] {
  const words =
    'how does the server batch many small questions from different users into one pass over model weights and keep every answer fast when some are long others short'.split(
      ' ',
    );
  let seed = 42;
  const random = () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed / 2_147_483_648;
  };
  return Array.from({ length: count }, () => {
    const length = Math.max(1, Math.round((tokens - 2) * (0.75 + random() / 2)));
    return Array.from({ length }, () => words[Math.floor(random() * words.length)]).join(' ');
  });
}

/** Drives one session per core, and nothing else, with batches of 32 in the order of the rows. */
async function openDirect(rows: number[][]) {
  const batches: number[][][] = [];
  for (let at = 0; at + 32 <= rows.length; at += 32) batches.push(rows.slice(at, at + 32));
  const workers = Array.from(
    { length: availableParallelism() },
    () => new Worker(new URL('./limit-worker.ts', import.meta.url), { workerData: { modelFile, batches } }),
  );
  const message = <T>(worker: Worker) =>
    new Promise<T>((resolve, reject) => worker.once('message', resolve).once('error', reject));
  await Promise.all(workers.map((worker) => message(worker)));
  return {
    async run(): Promise<number> {
      const answers = workers.map((worker) => message<{ textsPerSecond: number }>(worker));
      for (const worker of workers) worker.postMessage({ durationMs });
      return (await Promise.all(answers)).reduce((sum, { textsPerSecond }) => sum + textsPerSecond, 0);
    },
    close: () => Promise.all(workers.map((worker) => worker.terminate())),
  };
}

const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!;

const server = await startServer();
const client = new BenchClient(server.grpcAddress);
const texts = makeTexts(2048, Number(values.tokens));
const rows = (await client.tokenize(texts)).map((ids) => [101, ...ids, 102]);
const inOrder = await openDirect(rows);
const limit = await openDirect(rows.toSorted((a, b) => a.length - b.length));
const ownCpuUs = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};
/** CPU microseconds per text: what the ratio comes from, and steadier than time on a machine that others use too. */
async function withCpu<T>(
  run: () => Promise<T>,
  textsIn: (result: T) => number,
): Promise<{ result: T; server: number; own: number }> {
  const [serverBefore, ownBefore] = [await server.cpuUs(), ownCpuUs()];
  const result = await run();
  const texts = textsIn(result);
  return {
    result,
    server: ((await server.cpuUs()) - serverBefore) / texts,
    own: (ownCpuUs() - ownBefore) / texts,
  };
}
const seconds = durationMs / 1000;
const loopTexts = (loop: LoopResult) => loop.textsPerSecond * seconds;
const cpu: { limit: number; unary: number; unaryClient: number; stream: number; streamClient: number }[] = [];
const results: { limit: number; inOrder: number; unary: LoopResult; stream: LoopResult }[] = [];
try {
  await client.unary({ texts, concurrency, durationMs: 1000 });
  for (let round = 0; round < rounds; round++) {
    const direct = await withCpu(
      () => limit.run(),
      (rate) => rate * seconds,
    );
    const inOrderRate = await inOrder.run();
    const unaryRun = await withCpu(() => client.unary({ texts, concurrency, durationMs }), loopTexts);
    const streamRun = await withCpu(() => client.stream({ texts, concurrency, durationMs }), loopTexts);
    const result = {
      limit: direct.result,
      inOrder: inOrderRate,
      unary: unaryRun.result,
      stream: streamRun.result,
    };
    cpu.push({
      limit: direct.own,
      unary: unaryRun.server,
      unaryClient: unaryRun.own,
      stream: streamRun.server,
      streamClient: streamRun.own,
    });
    results.push(result);
    const [unary, stream] = [result.unary, result.stream].map(({ textsPerSecond }) => textsPerSecond);
    const row = [result.inOrder, result.limit, unary!, stream!].map((rate) => rate.toFixed(0));
    if (!values.json)
      console.log(
        `round ${round + 1}: direct ${row[0]}, ideal ${row[1]}, unary ${row[2]}, stream ${row[3]} texts/s`,
      );
  }
} finally {
  client.close();
  await Promise.all([limit.close(), inOrder.close(), server.stop()]);
}

const summary = (['unary', 'stream'] as const).map((kind) => ({
  kind,
  textsPerSecond: Math.round(median(results.map((result) => result[kind].textsPerSecond))),
  ratioToDirect: Number(
    median(results.map((result) => result[kind].textsPerSecond / result.inOrder)).toFixed(3),
  ),
  ratioToIdeal: Number(
    median(results.map((result) => result[kind].textsPerSecond / result.limit)).toFixed(3),
  ),
  p50Ms: Number(median(results.map((result) => result[kind].p50)).toFixed(1)),
  p99Ms: Number(median(results.map((result) => result[kind].p99)).toFixed(1)),
  clientCores: Number(median(results.map((result) => result[kind].clientCores)).toFixed(2)),
}));
const direct = Math.round(median(results.map((result) => result.inOrder)));
const ideal = Math.round(median(results.map((result) => result.limit)));
if (values.json) console.log(JSON.stringify({ concurrency, direct, ideal, summary }));
else {
  const threads = `${availableParallelism()} worker threads`;
  console.log(`\ndirect: ${direct} texts/s in ${threads}, batches of 32 as the texts come`);
  console.log(`ideal : ${ideal} texts/s in ${threads}, batches of 32 sorted by length (the limit)`);
  for (const { kind, textsPerSecond, ratioToDirect, ratioToIdeal, p50Ms, p99Ms, clientCores } of summary) {
    console.log(
      `${kind.padEnd(6)}: ${textsPerSecond} texts/s through gRPC at concurrency ${concurrency}, ${ratioToDirect} of direct, ${ratioToIdeal} of ideal; p50 ${p50Ms} ms, p99 ${p99Ms} ms; the client took ${clientCores} of the same cores`,
    );
  }
  const us = (key: keyof (typeof cpu)[number]) => median(cpu.map((round) => round[key])).toFixed(0);
  console.log(
    `CPU per text: ideal ${us('limit')} us; unary ${us('unary')} us in the server and ${us('unaryClient')} us in the client; stream ${us('stream')} us and ${us('streamClient')} us`,
  );
}
