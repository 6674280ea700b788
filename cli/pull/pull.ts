import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandFailure } from '../exit-codes.ts';
import { type Choice, chooseOnnx, type Machine, type Wish } from './choose.ts';
import { amount, diskFailure, requireSpace } from './disk-space.ts';
import { externalDataOf } from './external-data.ts';
import { contentOf, type Hashed, type Provenance, pulledVersions, writeManifests } from './manifest.ts';
import { companionsOf, externalFilesOf, MODEL_FILE, type PlannedFile } from './plan.ts';
import type { PlaceOptions, Snapshot, Source } from './source.ts';
import { openStaging, type Staging } from './staging.ts';

export interface PullRequest {
  /** Name of the model in the repository. */
  name: string;
  /** Folder of the repository; made if it is not there. */
  repository: string;
  wish: Wish;
  machine: Machine;
  /** Makes a new version even if the same one is there. */
  force: boolean;
  /** Bytes of all files together at most. */
  maxBytes: number;
  /** Version of this program, for `pulled.json`. */
  programVersion: string;
}

export interface PullResult {
  name: string;
  version: number;
  /** The version folder. */
  folder: string;
  /** The ONNX file in the source. */
  file: string;
  precision: string;
  /** Whether the same version was there already, and nothing was made. */
  unchanged: boolean;
}

/**
 * Brings a snapshot into the repository as the next version of a model. The server sees nothing of it before it is whole:
 * all files are checked and on the disk before one rename shows them.
 * @throws CommandFailure; the reason of the signal when it aborts
 */
export async function pull(source: Source, request: PullRequest, options: PlaceOptions): Promise<PullResult> {
  const { snapshot } = source;
  const choice = choose(snapshot, request);
  const { path: file, precision } = choice.chosen;
  const alternatives = choice.alternatives.map(({ path }) => path);
  options.onEvent({ event: 'chosen', file, precision, why: choice.why, alternatives });
  const { name, repository, force } = request;
  const modelFolder = join(repository, name);
  try {
    const pulled = force ? [] : [...(await pulledVersions(modelFolder))].reverse();
    const same = pulled.find(
      ([, from]) => from.commit !== undefined && from.commit === snapshot.commit && from.file === file,
    );
    const [version, unchanged] =
      same !== undefined
        ? [same[0], true]
        : await bring({ source, choice, request, options, modelFolder, pulled });
    return { name, version, folder: join(modelFolder, String(version)), file, precision, unchanged };
  } catch (error) {
    const { surroundings } = options;
    throw await diskFailure(error, { what: modelFolder, target: modelFolder, surroundings });
  }
}

interface Filling {
  source: Source;
  choice: Choice;
  request: PullRequest;
  options: PlaceOptions;
}

type Bringing = Filling & { modelFolder: string; pulled: readonly [number, Provenance][] };

/** The version, and whether one of the same content was there already. */
async function bring({ modelFolder, pulled, ...filling }: Bringing): Promise<[number, boolean]> {
  const { source, choice, request, options } = filling;
  const { snapshot } = source;
  const { path: file, precision } = choice.chosen;
  const { surroundings, signal } = options;
  await using staging = await openStaging(modelFolder, {
    key: [snapshot.source, snapshot.commit ?? '', file],
    what: `${file} of ${snapshot.source}`,
    pid: surroundings.pid,
  });
  try {
    const files = await fill(staging, filling);
    const content = contentOf(files);
    const equal = pulled.find(([, from]) => from.content === content);
    if (equal !== undefined) {
      await staging.discard();
      return [equal[0], true];
    }
    const { source: from, revision, commit } = snapshot;
    const pulled_at = surroundings.now().toISOString();
    const nereid = request.programVersion;
    const provenance = { source: from, revision, commit, file, precision, content, pulled_at, nereid };
    await writeManifests(staging.folder, { files, provenance, surroundings });
    signal.throwIfAborted();
    const version = await staging.publish();
    for (const folder of await staging.leftOvers())
      options.onEvent({
        event: 'note',
        message: `an unfinished pull lies in ${folder}; delete it if nobody goes on with it`,
      });
    return [version, false];
  } catch (error) {
    if (!source.resumable) await staging.discard();
    throw error;
  }
}

/** @throws CommandFailure that names the source */
export function choose(snapshot: Snapshot, { wish, machine }: Pick<PullRequest, 'wish' | 'machine'>): Choice {
  try {
    const paths = snapshot.files.map(({ path }) => path);
    return chooseOnnx(paths, wish, machine);
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    throw new CommandFailure(`${snapshot.source}: ${error.message}`, { exitCode: error.exitCode });
  }
}

/** The weights first: only they say which other files they need. */
async function fill(staging: Staging, { source, choice, request, options }: Filling): Promise<Hashed[]> {
  const { snapshot } = source;
  const { path } = choice.chosen;
  const model: PlannedFile = { file: snapshot.files.find((file) => file.path === path)!, target: MODEL_FILE };
  const companions = companionsOf(snapshot, path);
  const first = [model, ...companions];
  await admit(first, { staging, source, request, options });
  const hashes = [await place(model, staging, { source, options })];

  const locations = await externalDataOf(join(staging.folder, MODEL_FILE), path).catch(async (error) => {
    // It came whole: the next attempt would get the same.
    await staging.discard();
    throw error;
  });
  const external = externalFilesOf(snapshot, path, { locations, taken: companions });
  const all = [...first, ...external];
  if (external.length > 0) await admit(all, { staging, source, request, options });
  for (const planned of [...external, ...companions])
    hashes.push(await place(planned, staging, { source, options }));

  if (!companions.some(({ target }) => target === 'tokenizer.json')) {
    const message = `${snapshot.source} has no tokenizer.json: the model takes tensors, but no texts`;
    options.onEvent({ event: 'note', message });
  }
  await staging.keepOnly(all.map(({ target }) => target));
  return hashes;
}

async function place(
  { file, target }: PlannedFile,
  staging: Staging,
  { source, options }: Pick<Filling, 'source' | 'options'>,
): Promise<Hashed> {
  options.signal.throwIfAborted();
  return { target, sha256: await source.place(file, await staging.pathOf(target), options) };
}

/** Refuses what is too large for the limit or the disk before it is brought. */
async function admit(
  planned: readonly PlannedFile[],
  { staging, source, request, options }: Omit<Filling, 'choice'> & { staging: Staging },
): Promise<void> {
  const bytes = planned.reduce((sum, { file }) => sum + file.bytes, 0);
  if (bytes > request.maxBytes) {
    throw new CommandFailure(
      `${source.snapshot.source}: the files have ${bytes} bytes (${amount(bytes)}), the limit is ${request.maxBytes} (--max-bytes)`,
    );
  }
  options.onEvent({ event: 'planned', files: planned.length, bytes });
  let missing = bytes;
  for (const { file, target } of source.resumable ? planned : []) {
    const there = await lstat(join(staging.folder, target)).catch(() => undefined);
    missing -= Math.min(there?.size ?? 0, file.bytes);
  }
  await requireSpace(staging.folder, missing, options.surroundings);
}
