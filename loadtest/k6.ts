import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { availableParallelism, homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type ScenarioName, scenarioNames } from './k6/scenarios.ts';
import { type Product, startProduct } from './product.ts';

const HELP = `Usage: npm run k6 -- ${scenarioNames.join('|')} [--grpc] [--http] [--orchestrator] [options]

Starts both programs on free ports over an empty data folder, ingests the sample documents, and puts them under the load of
the k6 scripts in loadtest/k6, all of them unless some are named. Every latency is compared with one that is taken without
load in the same run. Ends with 1 when a threshold is broken, and with 3 when there is no k6.

  --duration N   seconds of the main part (default: the scenario's own; soak is 30 minutes)
  --out DIR      folder for summary.md and latency.svg of each script (default .nereid/k6)

k6 is looked for in the environment variable K6, in PATH and in ~/go/bin.`;

const scripts = ['grpc', 'http', 'orchestrator'] as const;
type ScriptName = (typeof scripts)[number];

/** Under heavy load the orchestrator gives requests up after this, before the load is over. */
const REQUEST_TIMEOUT_MS = 10_000;
const NO_K6 = 3;
const USAGE = 2;
const samples = fileURLToPath(new URL('../orchestrator/samples/', import.meta.url));

/** Where k6 is; undefined when it is nowhere. */
export function findK6(env: NodeJS.ProcessEnv, home: string): string | undefined {
  const folders = (env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  const places = env.K6
    ? [env.K6]
    : [...folders, join(home, 'go', 'bin')].map((folder) => join(folder, 'k6'));
  return places.find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

interface Run {
  k6: string;
  scenario: ScenarioName;
  out: string;
  duration: string | undefined;
}

/** @returns k6's exit code; 0 when every threshold held */
async function runScript(script: ScriptName, product: Product, run: Run): Promise<number> {
  const folder = join(run.out, `${run.scenario}-${script}`);
  await mkdir(folder, { recursive: true });
  const variables = {
    SCENARIO: run.scenario,
    CORES: String(availableParallelism()),
    OUT: folder,
    GRPC_ADDRESS: product.serverGrpcAddress,
    HTTP_URL: product.serverHttpUrl,
    URL: product.url,
    ...(run.duration === undefined ? {} : { DURATION_SECS: run.duration }),
  };
  const flags = Object.entries(variables).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
  const file = fileURLToPath(new URL(`./k6/${script}.ts`, import.meta.url));
  const child = spawn(run.k6, ['run', '--quiet', '--no-usage-report', ...flags, file], { stdio: 'inherit' });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}

/** The sample documents, so that searches find something. */
async function ingestSamples({ url }: Product): Promise<void> {
  const form = new FormData();
  for (const name of await readdir(samples))
    form.append('file', new Blob([await readFile(join(samples, name))]), name);
  const reply = await fetch(`${url}/v1/documents?wait=true`, { method: 'POST', body: form });
  if (!reply.ok)
    throw new Error(`the samples could not be ingested (${reply.status}): ${await reply.text()}`);
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      grpc: { type: 'boolean', default: false },
      http: { type: 'boolean', default: false },
      orchestrator: { type: 'boolean', default: false },
      duration: { type: 'string' },
      out: { type: 'string', default: '.nereid/k6' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const scenario = scenarioNames.find((name) => name === positionals[0]);
  if (values.help || scenario === undefined || positionals.length > 1) {
    console.log(HELP);
    return values.help ? 0 : USAGE;
  }
  if (values.duration !== undefined && !(Number(values.duration) > 0)) {
    console.error(`--duration is a number of seconds above zero, not "${values.duration}"`);
    return USAGE;
  }
  const k6 = findK6(process.env, homedir());
  if (k6 === undefined) {
    const where = process.env.K6 ? `at K6=${process.env.K6}` : 'in PATH or in ~/go/bin';
    console.error(`there is no k6 ${where}; get it with: go install go.k6.io/k6@latest`);
    return NO_K6;
  }
  const named = scripts.filter((script) => values[script]);
  const run = { k6, scenario, out: values.out, duration: values.duration };
  const product = await startProduct([
    '--log-level',
    'warn',
    '--request-timeout-ms',
    String(REQUEST_TIMEOUT_MS),
  ]);
  try {
    await ingestSamples(product);
    let worst = 0;
    for (const script of named.length > 0 ? named : scripts)
      worst = Math.max(worst, await runScript(script, product, run));
    console.log(`summaries and plots: ${run.out}`);
    return worst === 0 ? 0 : 1;
  } finally {
    await product.stop();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  process.exitCode = await main().catch((error: Error) => {
    console.error(error.message);
    return 1;
  });
