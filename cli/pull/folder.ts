import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { copyFile, open, readdir, realpath, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandFailure } from '../exit-codes.ts';
import { diskFailure } from './disk-space.ts';
import { cacheSnapshot } from './reference.ts';
import { checkedPath, MOST_FILES, type PlaceOptions, type Source, type SourceFile } from './source.ts';

/** Deeper than any snapshot is; a wrong folder is not searched to its ground. */
const MOST_DEPTH = 4;

/**
 * A folder of this machine as a source: an export, a clone, or a snapshot of the Hugging Face cache with its links.
 * @throws CommandFailure when it is no folder, or holds more files than any model
 */
export async function openFolder(folder: string): Promise<Source> {
  const found = await stat(folder).catch(() => undefined);
  if (found?.isDirectory() !== true)
    throw new CommandFailure(`${folder} is ${found === undefined ? 'not there' : 'no folder'}`);
  const files: SourceFile[] = [];
  await walk(folder, '', files);
  return {
    snapshot: { source: folder, commit: cacheSnapshot(folder)?.commit, files },
    resumable: false,
    place: (file, target, options) => copy(join(folder, file.path), { file, target, options }),
  };
}

async function walk(folder: string, below: string, files: SourceFile[]): Promise<void> {
  const names = (await readdir(join(folder, below))).filter((name) => !name.startsWith('.')).sort();
  for (const name of names) {
    const path = below === '' ? name : `${below}/${name}`;
    // Follows links: the files of the Hugging Face cache are links into its blobs.
    const found = await stat(join(folder, path)).catch(() => undefined);
    if (found?.isDirectory() === true && path.split('/').length < MOST_DEPTH) await walk(folder, path, files);
    if (found?.isFile() !== true) continue;
    files.push({ path, bytes: found.size });
    if (files.length > MOST_FILES) {
      const what = `${folder} holds more than ${MOST_FILES} files`;
      throw new CommandFailure(`${what}: give the folder of one model`);
    }
  }
}

async function copy(
  from: string,
  { file, target, options }: { file: SourceFile; target: string; options: PlaceOptions },
): Promise<string> {
  const { signal, surroundings, onEvent } = options;
  const { path, bytes } = file;
  checkedPath(path, from);
  onEvent({ event: 'file_started', file: path, bytes, resumedFrom: 0 });
  await rm(target, { recursive: true, force: true });
  const progress = (doneBytes: number) => onEvent({ event: 'file_progress', file: path, bytes, doneBytes });
  try {
    // A link is resolved, so that the version stands by itself.
    const real = await realpath(from);
    const shared = await shareBlocks(real, target);
    const copied = await takeOver(shared ? target : real, {
      into: shared ? undefined : target,
      signal,
      progress,
    });
    const handle = await open(target, 'r+');
    await handle.chmod(0o644);
    await handle.sync();
    await handle.close();
    onEvent({ event: 'file_done', file: path, bytes: copied.bytes, sha256: copied.sha256 });
    return copied.sha256;
  } catch (error) {
    throw await diskFailure(error, { what: path, target, missingBytes: bytes, surroundings });
  }
}

/** Where the file system can, a copy takes neither time nor room. */
async function shareBlocks(from: string, target: string): Promise<boolean> {
  try {
    await copyFile(from, target, constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch {
    await rm(target, { force: true });
    return false;
  }
}

/**
 * Hashes a file, and writes what is hashed `into` another: the manifest speaks of what is there even if the original
 * changes meanwhile.
 */
async function takeOver(
  from: string,
  options: { into: string | undefined; signal: AbortSignal; progress: (doneBytes: number) => void },
): Promise<{ bytes: number; sha256: string }> {
  const { into, signal, progress } = options;
  const writing = into === undefined ? undefined : await open(into, 'wx');
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    for await (const part of createReadStream(from, { highWaterMark: 1024 * 1024, signal })) {
      await writing?.appendFile(part as Buffer);
      hash.update(part as Buffer);
      bytes += (part as Buffer).length;
      progress(bytes);
    }
  } finally {
    await writing?.close();
  }
  return { bytes, sha256: hash.digest('hex') };
}
