import { writeFile } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { basename, dirname, extname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { table } from '../cli/table.ts';
import { type BatchTime, latestBatches, predictionPlot } from './prediction-plot.ts';
import { fp32Folder, SpeedBed } from './speed-bed.ts';
import { ceiling } from './speed-ceiling.ts';
import { goodput, interactive, lone } from './speed-latency.ts';
import { memory } from './speed-memory.ts';
import { type Measurement, type RowResult, rowCells, type SpeedContext, type SpeedRow } from './speed-row.ts';
import { saturation } from './speed-saturation.ts';

const HELP = `Usage: npm run bench -- speed [options]

Measures what the server is to reach, against ONNX Runtime alone in the same run, with servers that it starts on free ports.
Ratios are made within a round; the median of the rounds counts.

  --only a,b        rows whose name begins so (see --list)
  --list            the names of the rows
  --rounds N        rounds of each (default 5)
  --seconds N       length of each measurement (default 5)
  --fp32 DIR        folder with the fp32 model.onnx and its tokenizer (default: ../shared/models/all-minilm-l6-v2 if it is there)
  --requests N      requests of the memory row (default 200000)
  --report FILE     also write the table as markdown, with a plot of predicted against measured batches
  --json            print the rows as JSON`;

const HEADINGS = ['WHAT', 'TO REACH', 'MEASURED (MIN..MAX)', 'MET'];

const measurements: readonly Measurement[] = [
  saturation('int8', 'queries'),
  saturation('int8', 'passages'),
  saturation('fp32', 'queries'),
  saturation('fp32', 'passages'),
  lone,
  goodput('deadline'),
  goodput('fifo'),
  interactive,
  ceiling,
  memory,
];

interface Found {
  row: SpeedRow;
  result: RowResult;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      list: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '5' },
      fp32: { type: 'string' },
      requests: { type: 'string', default: '200000' },
      report: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return console.log(HELP);
  if (values.list)
    return console.log(measurements.flatMap(({ rows }) => rows.map(({ id }) => id)).join('\n'));
  const wanted = (values.only ?? '').split(',');
  const isWanted = ({ id }: SpeedRow) => wanted.some((name) => id.startsWith(name));
  if (!measurements.some(({ rows }) => rows.some(isWanted)))
    throw new Error(`--only ${values.only}: no row has such a name; --list shows them.`);
  await using bed = new SpeedBed(fp32Folder(values.fp32));
  const batches: BatchTime[] = [];
  const found = await measureAll(isWanted, {
    bed,
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    requests: Number(values.requests),
    say: (line) => console.error(line),
    // A server keeps its latest batches only, and each measurement has texts of its own.
    measured: async () => {
      if (values.report === undefined) return;
      const { server } = await bed.open('int8');
      batches.push(...(await latestBatches(server.metricsUrl)));
    },
  });
  const cells = found.map(({ row, result }) => rowCells(row, result));
  if (values.json) console.log(JSON.stringify(found, null, 2));
  else console.log(`\n${table(HEADINGS, cells)}`);
  if (values.report !== undefined) await writeReport(values.report, cells, batches);
}

async function measureAll(
  isWanted: (row: SpeedRow) => boolean,
  context: SpeedContext & { measured: () => Promise<void> },
): Promise<Found[]> {
  const found: Found[] = [];
  for (const { rows, measure } of measurements) {
    const asked = rows.filter(isWanted);
    if (asked.length === 0) continue;
    const results = await measure(context);
    await context.measured();
    found.push(...asked.map((row) => ({ row, result: results.get(row.id)! })));
  }
  return found;
}

/** The table as markdown, and beside it what batches took against what was predicted. */
async function writeReport(
  file: string,
  cells: readonly (readonly string[])[],
  batches: readonly BatchTime[],
): Promise<void> {
  const plot = `${basename(file, extname(file))}-batches.svg`;
  const image = batches.length === 0 ? '' : `\n![predicted and measured times of batches](${plot})\n`;
  await writeFile(file, markdown(cells) + image);
  const title = 'Batches of the int8 model: predicted and measured';
  if (image !== '') await writeFile(join(dirname(file), plot), predictionPlot(batches, title));
}

function markdown(cells: readonly (readonly string[])[]): string {
  const line = (texts: readonly string[]) => `| ${texts.join(' | ')} |`;
  const machine = `${availableParallelism()} cores, ${cpus()[0]?.model ?? 'unknown'}, Node ${process.versions.node}`;
  const head = ['# Speed', '', `On ${machine}.`, '', line(HEADINGS), line(HEADINGS.map(() => '---'))];
  return `${[...head, ...cells.map(line)].join('\n')}\n`;
}

// Servers and loads end with the connection to this process.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
await main();
