import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing } from './missing.ts';

/** One file as it is now. */
export interface FileMark {
  /** Relative to its folder, with / between the parts. */
  name: string;
  path: string;
  /** -1 for a link that leads nowhere. */
  size: number;
  /**
   * When its contents or its place changed last, in milliseconds since the epoch; 0 for a link that leads nowhere. The time
   * of the contents alone would not do: what copies or unpacks files often gives them the times of the originals.
   */
  changedMs: number;
  /** Changes when the file, or what its link leads to, does. */
  mark: string;
}

/** Folders in folders, and files in all of them: far above any model's. */
const MOST_LEVELS = 3;
const MOST_FILES = 2000;
/** One part is hashed in well under a millisecond, so that requests get their turn between two. */
const PART_BYTES = 256 * 1024;
/** Files of the model folder that decide what its versions do. */
const SHARED_FILES = [
  'config.pbtxt',
  'config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'modules.json',
  'sentence_bert_config.json',
  'config_sentence_transformers.json',
  'preprocessor_config.json',
  'golden.json',
];

/** Whether a name belongs to a file or folder that is still on its way, or hidden. */
export function isUnfinished(name: string): boolean {
  return name.startsWith('.') || name.endsWith('.partial') || name.endsWith('.tmp');
}

/** All files of a folder, those of its folders too, by name; links are followed. */
export async function markFolder(folder: string): Promise<FileMark[]> {
  const marks: FileMark[] = [];
  await collect(folder, '', marks);
  return marks.sort(byName);
}

/** The files of a model folder that its versions share. */
export async function markShared(folder: string): Promise<FileMark[]> {
  const modules = (await readdir(folder)).filter((name) => /^\d+_/.test(name));
  const names = [...SHARED_FILES, ...modules.map((name) => `${name}/config.json`)];
  const marks = await Promise.all(names.map((name) => markFile(folder, name)));
  return marks.filter((mark): mark is FileMark => mark !== undefined && mark.size >= 0).sort(byName);
}

/** What is in a file, in parts small enough to be hashed while requests are served. */
export function contentsOf(path: string): AsyncIterable<Buffer> {
  return createReadStream(path, { highWaterMark: PART_BYTES });
}

/** The signature of a version, of its own files and those that it shares with others of its model. */
export function signatureOfVersion(folder: string, marks: readonly FileMark[]): string {
  return signatureOf(marks.map((mark) => ({ ...mark, name: mark.path.slice(folder.length) })));
}

/** The signature that a version would have if it were looked at now. @throws when its folder can't be read */
export async function signatureNow(files: { folder: string; versionFolder: string }): Promise<string> {
  const { folder, versionFolder } = files;
  return signatureOfVersion(folder, [...(await markShared(folder)), ...(await markFolder(versionFolder))]);
}

/** One text for the state of files: equal texts, equal files. */
export function signatureOf(marks: readonly FileMark[]): string {
  const hash = createHash('sha256');
  for (const { name, mark } of marks) hash.update(`${name}\0${mark}\0`);
  return hash.digest('hex').slice(0, 32);
}

const byName = (a: FileMark, b: FileMark) => (a.name < b.name ? -1 : 1);

async function collect(folder: string, below: string, marks: FileMark[]): Promise<void> {
  const others: string[] = [];
  for (const name of (await readdir(folder)).sort()) {
    if (isUnfinished(name) || marks.length >= MOST_FILES) continue;
    const mark = await markFile(folder, name, below);
    if (mark === undefined) others.push(name);
    else marks.push(mark);
  }
  if (below.split('/').length > MOST_LEVELS) return;
  // Last, so that a link which leads up or out can't use up the number of files before the model's own have come.
  for (const name of others) await collectIfFolder(join(folder, name), `${below}${name}/`, marks);
}

async function collectIfFolder(folder: string, below: string, marks: FileMark[]): Promise<void> {
  try {
    await collect(folder, below, marks);
  } catch (error) {
    // Neither file nor folder, or gone since it was listed.
    if (!isMissing(error)) throw error;
  }
}

/** Undefined for what is no file. */
async function markFile(folder: string, name: string, below = ''): Promise<FileMark | undefined> {
  const path = join(folder, name);
  try {
    const stats = await stat(path, { bigint: true });
    if (!stats.isFile()) return undefined;
    const { size, mtimeNs, mtimeMs, ctimeMs, dev, ino } = stats;
    const mark = [size, mtimeNs, dev, ino].join(':');
    return {
      name: `${below}${name}`,
      path,
      size: Number(size),
      changedMs: Math.max(Number(ctimeMs), Number(mtimeMs)),
      mark,
    };
  } catch (error) {
    if (!isMissing(error)) throw error;
    return { name: `${below}${name}`, path, size: -1, changedMs: 0, mark: 'leads nowhere' };
  }
}
