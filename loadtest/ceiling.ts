import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { CeilingResult, CeilingTask } from './ceiling-client.ts';
import type { CeilingSizes } from './ceiling-handler.ts';
import { startServer } from './server.ts';

const HELP = `Usage: npm run bench -- ceiling [options]

Calls per second of the model server where every text is in its cache, against a handler of @grpc/grpc-js that does nothing
and sends as many bytes: what the server itself adds to a call. Server, handler and client are processes; server and handler
take turns in each round, so that the ratios hold on a noisy machine. The CPU ratio does not depend on what limits the
calls, which may be the client.

  --seconds N       length of each measurement (default 3)
  --rounds N        rounds; the median counts (default 7)
  --concurrency N   calls or messages in flight (default 32)
  --json            print the result as JSON`;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '7' },
    concurrency: { type: 'string', default: '32' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
const durationMs = Number(values.seconds) * 1000;
const concurrency = Number(values.concurrency);
const texts = Array.from(
  { length: 64 },
  (_, at) => `how does the server answer question ${at} so fast when it knows it`,
);

const start = (file: string) => fork(fileURLToPath(new URL(file, import.meta.url)));
const asked = <Answer>(child: ChildProcess, message: object | string) =>
  new Promise<Answer>((resolve, reject) => {
    const ended = (code: number | null) =>
      reject(new Error(`a process of the benchmark ended with code ${code}`));
    child.once('exit', ended);
    child.once('message', (answer) => {
      child.off('exit', ended);
      resolve(answer as Answer);
    });
    child.send(message);
  });

interface Side {
  address: string;
  cpuUs: () => Promise<number>;
}
interface Reading {
  callsPerSecond: number;
  cpuUsPerCall: number;
}
const kinds = ['unary', 'stream'] as const;

// Without warm-up, which would go on in the background: what the cache answers does not stop it.
const server = await startServer({ embeddingCacheMb: 64, warmUpMs: 0 });
const [client, handler] = [start('./ceiling-client.ts'), start('./ceiling-handler.ts')];
const load = (address: string, kind: CeilingTask['kind'], ms: number) =>
  asked<CeilingResult>(client, { address, kind, concurrency, durationMs: ms, texts } satisfies CeilingTask);

async function read({ address, cpuUs }: Side, kind: CeilingTask['kind']): Promise<Reading> {
  const before = await cpuUs();
  const { callsPerSecond, calls } = await load(address, kind, durationMs);
  return { callsPerSecond, cpuUsPerCall: ((await cpuUs()) - before) / calls };
}

const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!;
const rounds: Record<(typeof kinds)[number], { nereid: Reading; empty: Reading }>[] = [];
try {
  const nereid = { address: server.grpcAddress, cpuUs: server.cpuUs };
  // The first run fills the cache, and tells how long answers are.
  const unaryBytes = (await load(nereid.address, 'unary', 1000)).replyBytes;
  const streamBytes = (await load(nereid.address, 'stream', 1000)).replyBytes;
  const { port } = await asked<{ port: number }>(handler, { unaryBytes, streamBytes } satisfies CeilingSizes);
  const empty = {
    address: `127.0.0.1:${port}`,
    cpuUs: async () => (await asked<{ cpuUs: number }>(handler, 'usage')).cpuUs,
  };
  for (const kind of kinds) await load(empty.address, kind, 1000);
  for (let round = 0; round < Number(values.rounds); round++) {
    const readings = {} as (typeof rounds)[number];
    for (const kind of kinds) {
      // Who comes first changes, for whatever the one leaves behind the other meets.
      const isFirst = round % 2 === 0;
      const first = await read(isFirst ? nereid : empty, kind);
      const second = await read(isFirst ? empty : nereid, kind);
      readings[kind] = isFirst ? { nereid: first, empty: second } : { nereid: second, empty: first };
    }
    rounds.push(readings);
  }
} finally {
  client.disconnect();
  handler.disconnect();
  await server.stop();
}

const summary = kinds.map((kind) => {
  const of = (pick: (reading: Reading) => number, side: 'nereid' | 'empty') =>
    median(rounds.map((round) => pick(round[kind][side])));
  const ratios = rounds.map(({ [kind]: { nereid, empty } }) => nereid.callsPerSecond / empty.callsPerSecond);
  const cpuRatios = rounds.map(({ [kind]: { nereid, empty } }) => empty.cpuUsPerCall / nereid.cpuUsPerCall);
  return {
    kind,
    callsPerSecond: Math.round(of((reading) => reading.callsPerSecond, 'nereid')),
    emptyCallsPerSecond: Math.round(of((reading) => reading.callsPerSecond, 'empty')),
    ratio: Number(median(ratios).toFixed(3)),
    least: Number(Math.min(...ratios).toFixed(3)),
    most: Number(Math.max(...ratios).toFixed(3)),
    cpuUs: Number(of((reading) => reading.cpuUsPerCall, 'nereid').toFixed(1)),
    emptyCpuUs: Number(of((reading) => reading.cpuUsPerCall, 'empty').toFixed(1)),
    cpuRatio: Number(median(cpuRatios).toFixed(3)),
  };
});
if (values.json) console.log(JSON.stringify({ concurrency, summary }));
else
  for (const one of summary)
    console.log(
      `${one.kind.padEnd(6)}: ${one.callsPerSecond}/s from the cache, ${one.emptyCallsPerSecond}/s by an empty handler: ratio ${one.ratio} (${one.least} to ${one.most}); CPU of the server ${one.cpuUs} us to ${one.emptyCpuUs} us a call, ratio ${one.cpuRatio}`,
    );
