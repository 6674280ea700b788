import { open, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { settingOf } from '../config/settings.ts';
import { cpuFlags } from '../cpu-flags.ts';
import { CommandFailure, exitCodes } from '../exit-codes.ts';
import { onStopSignals } from '../launch/stop-signals.ts';
import { addSettings, configOf } from '../options.ts';
import { packageVersion } from '../package-root.ts';
import type { Machine, Wish } from '../pull/choose.ts';
import { amount } from '../pull/disk-space.ts';
import { openFolder } from '../pull/folder.ts';
import { openHub } from '../pull/hub.ts';
import { hubAccess } from '../pull/hub-request.ts';
import { isOnnx, precisions, readOnnxName } from '../pull/onnx-name.ts';
import { type Progress, showProgress } from '../pull/progress.ts';
import { choose, type PullResult, pull } from '../pull/pull.ts';
import { nameOf, type Reference, readReference } from '../pull/reference.ts';
import type { PlaceOptions, Snapshot, Source, Surroundings } from '../pull/source.ts';
import { table } from '../table.ts';
import { wholeNumber } from './ask.ts';

const MOST_BYTES = 20e9;
const STALL_MS = 30_000;

interface PullOptions extends Wish {
  name?: string;
  maxBytes: number;
  force?: boolean;
  list?: boolean;
  json?: boolean;
}

/** `nereid pull`: a model of the hub or of a folder into the repository, as its next version. */
export function command(): Command {
  return addSettings(new Command(), [settingOf('modelRepository')])
    .description(
      'Brings a model with an ONNX file from the Hugging Face hub, or from a folder, into the model repository: into ' +
        '<name>/<next version>/, with tokenizer, checksums and where it came from. The folder appears when it is whole. An ' +
        'interrupted pull goes on where it stopped. What is there already is not pulled again. HF_ENDPOINT names another ' +
        'hub, HF_TOKEN opens private and gated models.',
    )
    .argument('<source>', 'owner/name, owner/name@revision, or a path that starts with a dot or a slash')
    .option('--name <name>', 'name in the repository (default: last part of the id or path, in lower case)')
    .option('--file <path>', 'the ONNX file to take, as --list shows it')
    .addOption(
      new Option('--variant <precision>', 'precision to take (auto: full precision if there is any)')
        .choices(['auto', ...precisions])
        .default('auto'),
    )
    .addOption(
      new Option('--max-bytes <n>', 'bytes of all files together at most')
        .default(MOST_BYTES)
        .argParser(wholeNumber),
    )
    .option('--force', 'make a new version even if the same one is there')
    .option('--list', 'list the ONNX files and which one would be taken, and pull nothing')
    .option('--json', 'print events and the result as JSON lines')
    .addHelpText(
      'after',
      `
Examples:
  nereid pull sentence-transformers/all-MiniLM-L6-v2
  nereid pull intfloat/e5-small-v2@main --variant int8 --name e5-small
  nereid pull BAAI/bge-m3 --list
  nereid pull ./exported --name my-model --model-repository /srv/models`,
    )
    .action(async (text: string, options: PullOptions, self: Command) => {
      const { modelRepository } = configOf(self, []);
      const reference = readReference(text, process.cwd());
      const name = nameOf(reference, options.name);
      const progress = showProgress(options.json === true, { stream: process.stderr, out: console.log });
      const placing: PlaceOptions = { signal: stopSignal(reference), surroundings, onEvent: progress.on };
      const told = await pullOrList(reference, {
        options,
        name,
        repository: modelRepository,
        placing,
        progress,
      });
      console.log(told);
    });
}

interface Running {
  options: PullOptions;
  name: string;
  repository: string;
  placing: PlaceOptions;
  progress: Progress;
}

async function pullOrList(reference: Reference, running: Running): Promise<string> {
  const { options, name, repository, placing, progress } = running;
  const { variant, file, force = false, maxBytes, json = false } = options;
  const machine = { arch: process.arch, flags: cpuFlags() };
  try {
    const source = await openSource(reference, placing);
    if (options.list === true) return listing(source, { wish: options, machine, json });
    const programVersion = packageVersion();
    const request = { name, repository, wish: { variant, file }, machine, force, maxBytes, programVersion };
    const result = await pull(source, request, placing);
    return json ? JSON.stringify({ event: 'done', ...result }) : summary(result);
  } catch (error) {
    // An aborted call fails in its own words; why it was aborted is what counts.
    const failure = placing.signal.aborted ? placing.signal.reason : error;
    if (json) console.log(JSON.stringify({ event: 'failed', message: (failure as Error).message }));
    throw failure;
  } finally {
    progress.stop();
  }
}

function openSource(reference: Reference, { signal, onEvent }: PlaceOptions): Promise<Source> {
  if (reference.kind === 'folder') return openFolder(reference.folder);
  const access = hubAccess(process.env, reference);
  const onRetry = (retry: { attempt: number; inMs: number; why: string }) =>
    onEvent({ event: 'retry', file: reference.id, ...retry });
  return openHub(access, { signal, surroundings, onRetry });
}

const surroundings: Surroundings = {
  fetch: globalThis.fetch,
  open,
  freeBytes: async (path) => {
    const { bavail, bsize } = await statfs(path).catch(() => statfs(dirname(path)));
    return bavail * bsize;
  },
  pause: async (ms, signal) => {
    await wait(ms, undefined, { signal });
  },
  stallMs: STALL_MS,
  now: () => new Date(),
  pid: process.pid,
};

/** Aborts on the first Ctrl-C, so that what has arrived is on the disk; the second one ends at once. */
function stopSignal({ kind }: Reference): AbortSignal {
  const stopping = new AbortController();
  const kept = `What has arrived is kept; go on with: nereid ${process.argv.slice(2).join(' ')}`;
  const message = `interrupted, and no version was made. ${kind === 'hub' ? kept : 'The copies were removed.'}`;
  onStopSignals(['SIGINT', 'SIGTERM'], {
    first: () => stopping.abort(new CommandFailure(message, { exitCode: exitCodes.interrupted })),
    again: () => process.exit(exitCodes.interrupted),
  });
  return stopping.signal;
}

function summary({ name, version, folder, file, unchanged }: PullResult): string {
  if (unchanged)
    return `${name} version ${version} is ${file} of the same snapshot already; --force makes a new version`;
  return `${name} version ${version} is in ${folder}`;
}

/** A choice that can't be made is no reason to hide what there is to choose from. */
function listing(
  source: Source,
  { wish, machine, json }: { wish: Wish; machine: Machine; json: boolean },
): string {
  const { source: from, revision, commit, files } = source.snapshot;
  const onnx = files.filter(({ path }) => isOnnx(path));
  const choice = chosenOf(source.snapshot, { wish, machine });
  const listed = onnx.map(({ path, bytes }) => {
    const { precision, target } = readOnnxName(path);
    return { path, precision, target, bytes, chosen: path === choice.path };
  });
  if (json)
    return JSON.stringify({
      event: 'listed',
      source: from,
      revision,
      commit,
      why: choice.why,
      files: listed,
    });
  const rows = listed.map(({ chosen, path, precision, target, bytes }) => {
    return [chosen ? '*' : '', path, precision, target ?? '-', amount(bytes)];
  });
  const mark = choice.path === undefined ? '' : '* ';
  return [table(['', 'FILE', 'PRECISION', 'MADE FOR', 'SIZE'], rows), '', `${mark}${choice.why}`].join('\n');
}

function chosenOf(snapshot: Snapshot, by: { wish: Wish; machine: Machine }): { path?: string; why: string } {
  try {
    const { chosen, why } = choose(snapshot, by);
    return { path: chosen.path, why };
  } catch (error) {
    const any = snapshot.files.some(({ path }) => isOnnx(path));
    if (!any || !(error instanceof CommandFailure)) throw error;
    return { why: error.message };
  }
}
