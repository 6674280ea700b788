import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { mallocVariables } from '../cli/launch/memory-tuning.ts';
import { OnnxBackend } from '../model-server/backend/onnx.ts';
import { cpuInstances } from '../model-server/executor/devices.ts';
import { Pool } from '../model-server/executor/pool.ts';
import { assemble } from '../model-server/scheduler/assemble.ts';
import type { TokenBatch } from '../model-server/types.ts';

const HELP = `Usage: npm run bench -- packing [options]

What a token costs in batches that are filled up to their longest text, in packed ones, and in batches of equal texts with
as many tokens, on one session in one thread; then what the first and the later loads of two instances take with packing
off and on, each in a process of its own.

  --model FILE        (default: the shipped model)
  --mixes A-B:R,...   shortest and longest text in tokens, and texts in a batch (default 5-20:32,40-300:8)
  --rounds N          batches of each kind and mix; the lower quartile counts (default 31)
  --loads N           loads in each process (default 4)`;

const { values } = parseArgs({
  options: {
    model: {
      type: 'string',
      default: fileURLToPath(new URL('../model-repository/all-minilm-l6-v2/1/model.onnx', import.meta.url)),
    },
    mixes: { type: 'string', default: '5-20:32,40-300:8' },
    rounds: { type: 'string', default: '31' },
    loads: { type: 'string', default: '4' },
    /** Set by itself for its children. */
    packing: { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
const [rounds, loads] = [Number(values.rounds), Number(values.loads)];
const settings = { modelFile: values.model, text: true, intraOpThreads: 1 };
type Packing = 'auto' | 'off';

/** A quarter of all is faster: what else runs on the machine only adds. */
const quartile = (times: readonly number[]) => times.toSorted((a, b) => a - b)[Math.floor(times.length / 4)]!;
const fixed = (value: number) => value.toFixed(1).padStart(9);

/** Texts of made-up ids that every vocabulary of a real model has. */
function batchOf(lengths: readonly number[]): TokenBatch {
  return assemble(
    lengths.map((length, row) => ({
      row: { ids: Int32Array.from({ length }, (_, t) => 1000 + ((t * 7919 + row * 104_729) % 20_000)) },
      reduction: { kind: 'pooled' },
    })),
  );
}

interface Mix {
  name: string;
  lengths: number[];
}

/** Lengths spread evenly from the shortest to the longest, in no order. */
function mixOf(text: string): Mix {
  const [shortest = 1, longest = 1, rows = 1] = text.split(/[-:]/).map(Number);
  const step = (longest - shortest) / Math.max(1, rows - 1);
  const stride = rows % 7 === 0 ? 5 : 7;
  const lengths = Array.from({ length: rows }, (_, row) =>
    Math.round(shortest + step * ((row * stride) % rows)),
  );
  return { name: `${rows} texts of ${shortest} to ${longest} tokens`, lengths };
}

async function timeTokens(): Promise<void> {
  const asItIs = await OnnxBackend.open({ ...settings, packing: 'off' });
  const packed = await OnnxBackend.open(settings);
  if (!packed.info.text!.packed) console.log(`this model runs as it is: ${packed.info.text!.whyPadded}`);
  console.log('\nmicroseconds per token            padded   packed    equal');
  for (const { name, lengths } of values.mixes.split(',').map(mixOf)) {
    const tokens = lengths.reduce((sum, length) => sum + length, 0);
    const equal = lengths.map(() => Math.round(tokens / lengths.length));
    const kinds = [
      { backend: asItIs, lengths },
      { backend: packed, lengths },
      { backend: asItIs, lengths: equal },
    ];
    const times: number[][] = kinds.map(() => []);
    // In turns, so that whatever else the machine does hits all of them.
    for (let round = -2; round < rounds; round++)
      for (const [at, kind] of kinds.entries()) {
        const batch = batchOf(kind.lengths);
        const startedMs = performance.now();
        await kind.backend.runTexts(batch);
        const us = ((performance.now() - startedMs) * 1000) / new Int32Array(batch.tokens).length;
        if (round >= 0) times[at]!.push(us);
      }
    console.log(`${name.padEnd(31)}${times.map((all) => fixed(quartile(all))).join('')}`);
  }
  await asItIs.release();
  await packed.release();
}

/** One line of figures: milliseconds of each load, and what the last one has added to the process. */
async function timeLoads(packing: Packing): Promise<void> {
  const beforeBytes = process.memoryUsage.rss();
  const line: string[] = [];
  for (let load = 0; load < loads; load++) {
    const pool = new Pool({
      owner: 'model m version 1',
      session: { ...settings, pooling: 'mean', normalize: true, packing },
      instances: cpuInstances(2),
      watchdogMs: 0,
      maxRespawns: 0,
    });
    const startedMs = performance.now();
    const cpu = process.cpuUsage();
    await pool.open();
    const { user, system } = process.cpuUsage(cpu);
    line.push(
      `${Math.round(performance.now() - startedMs)} (${Math.round((user + system) / 1000)})`.padStart(14),
    );
    if (load === loads - 1)
      line.push(`${((process.memoryUsage.rss() - beforeBytes) / 2 ** 20).toFixed(0).padStart(9)}`);
    await pool.close();
  }
  console.log(`packing ${packing.padEnd(6)}${line.join('')}`);
}

if (values.packing !== undefined) {
  await timeLoads(values.packing as Packing);
} else {
  await timeTokens();
  console.log(`\nms of each load of two instances (of CPU time), MiB in the end`);
  const script = fileURLToPath(import.meta.url);
  for (const packing of ['off', 'auto', 'off', 'auto']) {
    const args = [script, '--packing', packing, '--model', values.model, '--loads', String(loads)];
    process.stdout.write(
      execFileSync(process.execPath, args, { env: { ...process.env, ...mallocVariables.serve } }),
    );
  }
}
