import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ServingError } from '../../errors.ts';
import { checkVersion } from './check-version.ts';
import {
  type FileMark,
  isUnfinished,
  markFolder,
  markShared,
  signatureOf,
  signatureOfVersion,
} from './file-marks.ts';
import { KnownFacts } from './known-facts.ts';
import { isMissing } from './missing.ts';
import { modelFilename, policyOf, readTritonConfig } from './triton-config.ts';
import type { TritonMessage } from './triton-schema.ts';
import type { ModelFolder, VersionFiles } from './version-files.ts';

/** Versions are folders named by positive integers; all others are no versions. */
const VERSION = /^[1-9]\d{0,14}$/;

/** At the root of a volume, and readable by root alone: as a model it would keep the server from being ready. */
const FILE_SYSTEMS_OWN = 'lost+found';

export interface ScanOptions {
  /** What earlier scans found out; files that have not changed are then not read again. */
  facts?: KnownFacts;
  /** A Triton configuration in JSON that stands in for the model's file. */
  override?: string | undefined;
}

/**
 * The models of a repository folder as they are now, by name: folders with a config.pbtxt or a version folder. A folder that
 * vanishes meanwhile is not there.
 * @throws ServingError MODEL_CONFIG_INVALID when the repository folder does not exist
 */
export async function scanRepository(
  repository: string,
  { facts = new KnownFacts() }: Pick<ScanOptions, 'facts'> = {},
): Promise<ModelFolder[]> {
  const names = await unlessMissing(() => readdir(repository));
  if (names === undefined) {
    throw new ServingError(
      'MODEL_CONFIG_INVALID',
      `the model repository ${repository} is not a folder. Give the right one with --model-repository.`,
    );
  }
  const models: ModelFolder[] = [];
  for (const name of names.sort()) {
    const model = await scanModel(repository, name, { facts });
    if (model !== undefined) models.push(model);
  }
  return models;
}

/** One model of a repository folder as it is now; undefined when there is none of that name. */
export async function scanModel(
  repository: string,
  name: string,
  { facts = new KnownFacts(), override }: ScanOptions = {},
): Promise<ModelFolder | undefined> {
  // Names come from requests too.
  if (isUnfinished(name) || name === FILE_SYSTEMS_OWN || /[/\\\0]/.test(name)) return undefined;
  const folder = join(repository, name);
  try {
    return await unlessMissing(() => scanFolder({ name, folder }, { facts, override }));
  } catch (error) {
    const problems = [`${folder} can't be read: ${(error as Error).message}`];
    return { name, folder, versions: [], versionPolicy: undefined, problems, signature: '' };
  }
}

interface Place {
  name: string;
  folder: string;
}

async function scanFolder(
  place: Place,
  { facts, override }: { facts: KnownFacts; override: string | undefined },
): Promise<ModelFolder | undefined> {
  if (!(await stat(place.folder)).isDirectory()) return undefined;
  const names = await readdir(place.folder);
  const numbers = names.filter((name) => VERSION.test(name)).map(Number);
  const problems: string[] = [];
  const shared = await markShared(place.folder);
  const message = await readMessage(place, { override, shared, facts, problems });
  const context = {
    ...place,
    shared,
    facts,
    problems,
    modelFilename: message ? modelFilename(message) : 'model.onnx',
    configProblem: problems[0],
  };
  const versions: VersionFiles[] = [];
  for (const number of numbers.sort((a, b) => a - b)) {
    const version = await unlessMissing(() => scanVersionOrWhy(number, context));
    if (version !== undefined) versions.push(version);
  }
  if (versions.length === 0) {
    if (!names.includes('config.pbtxt')) return undefined;
    problems.push(
      `${place.folder} has a config.pbtxt, but no version: expected ${join('1', context.modelFilename)}`,
    );
  }
  const signature = signatureOf([
    ...shared,
    ...versions.map(({ version, signature: mark }) => ({
      name: `${version}`,
      path: '',
      size: 0,
      changedMs: 0,
      mark,
    })),
  ]);
  return {
    ...place,
    versions,
    versionPolicy: message && policyOf(message),
    problems,
    signature,
  };
}

interface MessageContext extends Pick<VersionContext, 'shared' | 'facts' | 'problems'> {
  override: string | undefined;
}

async function readMessage(
  place: Place,
  { override, shared, facts, problems }: MessageContext,
): Promise<TritonMessage | undefined> {
  const marks = shared.filter(({ name }) => name === 'config.pbtxt' || name === 'config.json');
  const read = () => messageOrProblem(place, override);
  // A large file takes its time to read, and is looked at again and again.
  const isKnowable = override === undefined && marks.length > 0;
  const { message, problem } = isKnowable
    ? await facts.of(`config ${place.folder}`, signatureOf(marks), read)
    : await read();
  if (problem !== undefined) problems.push(problem);
  return message;
}

async function messageOrProblem(
  place: Place,
  override: string | undefined,
): Promise<{ message?: TritonMessage; problem?: string }> {
  try {
    return { message: (await readTritonConfig(place, override)).message };
  } catch (error) {
    if (!(error instanceof ServingError)) throw error;
    return { problem: error.message };
  }
}

interface VersionContext extends Place {
  shared: readonly FileMark[];
  facts: KnownFacts;
  problems: string[];
  modelFilename: string;
  /** What is wrong with the configuration. */
  configProblem: string | undefined;
}

/** One that can't be read must not take away the others. */
async function scanVersionOrWhy(version: number, context: VersionContext): Promise<VersionFiles | undefined> {
  try {
    return await scanVersion(version, context);
  } catch (error) {
    if (isMissing(error)) throw error;
    const { name, folder, modelFilename } = context;
    const versionFolder = join(folder, String(version));
    const why = `${versionFolder} can't be read: ${(error as Error).message}`;
    context.problems.push(why);
    const modelFile = join(versionFolder, modelFilename);
    const files = { name, version, folder, versionFolder, modelFile, signature: '', changedMs: 0 };
    return { ...files, complete: false, why };
  }
}

async function scanVersion(version: number, context: VersionContext): Promise<VersionFiles | undefined> {
  const { name, folder, shared, facts } = context;
  const versionFolder = join(folder, String(version));
  if (!(await stat(versionFolder)).isDirectory()) return undefined;
  const marks = await markFolder(versionFolder);
  const all = [...shared, ...marks];
  const files = {
    name,
    version,
    folder,
    versionFolder,
    modelFile: join(versionFolder, context.modelFilename),
    signature: signatureOfVersion(folder, all),
    changedMs: all.reduce((latest, mark) => Math.max(latest, mark.changedMs), 0),
  };
  const shortcoming = await checkUnlessGone(() => checkVersion(marks, context.modelFilename, facts));
  if (shortcoming === undefined) return { ...files, complete: true };
  if (shortcoming.isFinal) context.problems.push(`version ${version}: ${shortcoming.why}`);
  // An ensemble, or another kind of model, has no model file; what its configuration says is what one needs to know.
  return { ...files, complete: false, why: context.configProblem ?? shortcoming.why };
}

/** A file that goes away while it is looked at leaves its version incomplete. */
async function checkUnlessGone(
  check: () => ReturnType<typeof checkVersion>,
): ReturnType<typeof checkVersion> {
  try {
    return await check();
  } catch (error) {
    if (!isMissing(error)) throw error;
    return { why: 'a file went away while it was read', isFinal: false };
  }
}

async function unlessMissing<Result>(read: () => Promise<Result>): Promise<Result | undefined> {
  try {
    return await read();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
