import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { settingOf } from '../config/settings.ts';
import { cgroupLimits } from '../doctor/cgroup.ts';
import { CommandFailure, exitCodes } from '../exit-codes.ts';
import { onStopSignals } from '../launch/stop-signals.ts';
import { addSettings, configOf } from '../options.ts';
import { durationMs } from '../tune/duration.ts';
import { disturbanceOf, type Finding } from '../tune/finding.ts';
import { FRAGMENT_START, fragment } from '../tune/fragment.ts';
import { type Mix, meanLength, mixes, readAccessLog, readLengths, type Workload } from '../tune/lengths.ts';
import { plot } from '../tune/plot.ts';
import { showProgress } from '../tune/progress.ts';
import { report, reportJson } from '../tune/report.ts';
import { tune } from '../tune/tune.ts';

interface TuneFlags {
  p99: number;
  lengths?: string;
  accessLog?: string;
  mix: Mix;
  budgetSecs: number;
  plot?: string;
  write?: string;
  json?: boolean;
}

/** `nereid tune`: the configuration of the highest throughput within a latency. */
export function command(): Command {
  return addSettings(new Command(), [settingOf('modelRepository'), settingOf('maxBatchTokens')])
    .description(
      'Searches the number of instances and their threads, the token budget of a batch and the queue delay that give an ' +
        'embedding model the highest throughput on the cores of this machine within a p99 latency. Measures servers of its ' +
        'own on free ports, one text in each request; nothing of what runs is touched, but it should run alone. Ends with ' +
        '1 when nothing keeps the target, and tells the best p99.',
    )
    .argument('<model>', 'name in the repository')
    .requiredOption(
      '--p99 <duration>',
      'what 99 % of the requests must stay within, such as 50ms or 0.2s',
      durationMs,
    )
    .addOption(
      new Option('--mix <kind>', 'built-in lengths of texts').choices(Object.keys(mixes)).default('queries'),
    )
    .addOption(
      new Option(
        '--lengths <file>',
        'lengths as JSON, tokens to number of texts such as {"8": 120, "16": 300}, or texts that have those lengths, one a line',
      ).conflicts(['mix', 'accessLog']),
    )
    .addOption(
      new Option('--access-log <file>', 'JSON lines with "tokens", a number or a list of them').conflicts(
        'mix',
      ),
    )
    .option('--budget-secs <n>', 'seconds that the search may take', seconds, 120)
    .option('--plot <file>', 'where the curves go as SVG (default: tune-<model>.svg)')
    .option('--write <file>', 'write the fragment of config.pbtxt there too')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Examples:
  nereid tune all-minilm-l6-v2 --p99 50ms
  nereid tune all-minilm-l6-v2 --p99 0.2s --mix passages --budget-secs 300
  nereid tune my-model --p99 80ms --lengths lengths.json --write config.fragment.pbtxt`,
    )
    .action(async (model: string, flags: TuneFlags, self: Command) => {
      process.exitCode = await run(model, flags, self);
    });
}

/** @throws InvalidArgumentError, which commander tells together with the flag */
function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value > 0 && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('It must be a number of seconds above zero.');
}

async function run(model: string, flags: TuneFlags, self: Command): Promise<number> {
  const { modelRepository, maxBatchTokens } = configOf(self, []);
  const { p99: targetP99Ms, json = false } = flags;
  // What can't be written is said before minutes are spent.
  if (flags.write !== undefined) refuseForeign(flags.write);
  const workload = await workloadOf(flags);
  const cores = usableCores();
  const disturbance = disturbanceOf(loadavg()[0]!, cores);
  const budgetMs = flags.budgetSecs * 1000;
  const stopping = new AbortController();
  onStopSignals(['SIGINT', 'SIGTERM'], {
    first: () => stopping.abort(new Error('interrupted')),
    again: () => process.exit(exitCodes.interrupted),
  });
  const progress = showProgress(process.stderr, { budgetMs, isQuiet: json });
  const { choice, result } = await tune({
    model,
    modelRepository,
    targetP99Ms,
    budgetMs,
    workload,
    cores,
    batchTokens: maxBatchTokens,
    signal: stopping.signal,
    progress,
  });
  const finding: Finding = {
    model,
    targetP99Ms,
    workload: workload.name,
    machine: `${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${cores} core${cores === 1 ? '' : 's'}`,
    disturbance,
    date: new Date().toISOString().slice(0, 10),
    choice,
    result,
  };
  const plotFile = flags.plot ?? `tune-${model}.svg`;
  await writeFile(plotFile, plot(finding));
  if (flags.write !== undefined) await writeFile(flags.write, fragment(finding));
  const written = [plotFile, flags.write].filter((file) => file !== undefined);
  if (json) console.log(JSON.stringify({ ...reportJson(finding), written }, null, 2));
  else console.log(`${report(finding)}\n\nwritten: ${written.join(', ')}`);
  if (result.ended === 'interrupted') return exitCodes.interrupted;
  return choice.met ? exitCodes.ok : exitCodes.failed;
}

async function workloadOf({ lengths, accessLog, mix }: TuneFlags): Promise<Workload> {
  if (lengths !== undefined) return readLengths(lengths);
  if (accessLog !== undefined) return readAccessLog(accessLog);
  const histogram = mixes[mix];
  return { name: `mix "${mix}", ${meanLength(histogram).toFixed(0)} tokens on average`, lengths: histogram };
}

/** @throws CommandFailure for a file that is somebody's work */
function refuseForeign(file: string): void {
  if (existsSync(file) && !readFileSync(file, 'utf8').startsWith(FRAGMENT_START))
    throw new CommandFailure(
      `--write ${file}: there is a file already that nereid tune has not written. Name another one, and copy the fragment over.`,
      { exitCode: exitCodes.usage },
    );
}

/** A container's quota counts, for more threads than that are throttled. */
function usableCores(): number {
  const { cpus: quota = Number.POSITIVE_INFINITY } = cgroupLimits();
  return Math.max(1, Math.min(availableParallelism(), Math.floor(quota)));
}
