import { createHash } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { mkdir, open, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { lock } from './lock.ts';
import { versionsOf } from './manifest.ts';

/** The folder that a version is put together in, out of the server's sight. */
export interface Staging extends AsyncDisposable {
  folder: string;
  /** Path of a file in it; its folder is made. */
  pathOf(target: string): Promise<string>;
  /** Removes what does not belong to the version. */
  keepOnly(targets: readonly string[]): Promise<void>;
  /**
   * Makes it the next version in one step.
   * @returns the version
   */
  publish(): Promise<number>;
  /** Folders beside it that other pulls left unfinished and nobody works at. */
  leftOvers(): Promise<string[]>;
  /** Throws it away, and the model's folder if nothing else is in it. */
  discard(): Promise<void>;
}

/**
 * Opens `<model>/.pull-<id>` under a lock. The same `key` leads to the same folder, so that what an interrupted pull left
 * there is found again.
 * @throws CommandFailure when another process is at it
 */
export async function openStaging(
  modelFolder: string,
  { key, what, pid }: { key: readonly string[]; what: string; pid: number },
): Promise<Staging> {
  const id = createHash('sha256').update(JSON.stringify(key)).digest('hex').slice(0, 16);
  const folder = join(modelFolder, `.pull-${id}`);
  await makeFolder(modelFolder);
  const held = await lock(`${folder}.lock`, { pid, what });
  await mkdir(folder, { recursive: true });
  return {
    folder,
    pathOf: async (target) => {
      const path = join(folder, ...target.split('/'));
      await mkdir(dirname(path), { recursive: true });
      return path;
    },
    keepOnly: (targets) => keepOnly(folder, new Set(targets)),
    publish: () => publish(folder, modelFolder),
    leftOvers: () => leftOvers(modelFolder),
    discard: () => rm(folder, { recursive: true, force: true }),
    [Symbol.asyncDispose]: async () => {
      await held[Symbol.asyncDispose]();
      // Only empty ones go: a pull that failed before anything came leaves no model behind.
      await rmdir(folder).catch(() => undefined);
      await rmdir(modelFolder).catch(() => undefined);
    },
  };
}

/** Step by step: Node's recursive call never ends on file systems that refuse new folders as if their parent were missing. */
async function makeFolder(folder: string): Promise<void> {
  const isMissing = (error: unknown) => (error as NodeJS.ErrnoException).code === 'ENOENT';
  try {
    await stat(folder);
  } catch (error) {
    if (!isMissing(error)) throw error;
    await makeFolder(dirname(folder));
    await mkdir(folder).catch((failure: NodeJS.ErrnoException) => {
      if (failure.code !== 'EEXIST') throw failure;
    });
  }
}

async function entriesOf(folder: string): Promise<Dirent[]> {
  return readdir(folder, { recursive: true, withFileTypes: true });
}

async function keepOnly(folder: string, targets: ReadonlySet<string>): Promise<void> {
  for (const entry of await entriesOf(folder)) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isDirectory() || targets.has(relative(folder, path).split(sep).join('/'))) continue;
    await rm(path, { force: true });
  }
}

async function leftOvers(modelFolder: string): Promise<string[]> {
  const names = await readdir(modelFolder);
  return names
    .filter((name) => /^\.pull-[0-9a-f]{16}$/.test(name) && !names.includes(`${name}.lock`))
    .map((name) => join(modelFolder, name));
}

async function publish(folder: string, modelFolder: string): Promise<number> {
  for (const entry of await entriesOf(folder))
    if (entry.isDirectory()) await syncFolder(join(entry.parentPath, entry.name));
  await syncFolder(folder);
  for (;;) {
    const version = ((await versionsOf(modelFolder)).at(-1) ?? 0) + 1;
    try {
      await rename(folder, join(modelFolder, String(version)));
    } catch (error) {
      // Another pull of the same model was faster: the next number is ours.
      if (['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) continue;
      throw error;
    }
    await syncFolder(modelFolder);
    await syncFolder(dirname(modelFolder));
    return version;
  }
}

/** Names reach the disk with their folder; systems that can't open a folder write them at once. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}
