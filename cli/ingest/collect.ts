import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, join, relative, resolve, sep } from 'node:path';
import { convertPathToPattern, glob, isDynamicPattern } from 'tinyglobby';
import { CommandFailure } from '../exit-codes.ts';

/** A file to upload. */
export interface Found {
  path: string;
  /**
   * Its id in the collection, with `/`: the name of the folder that was given and the path in it, or the file's own
   * name when the file itself was given. It does not depend on what else was given.
   */
  name: string;
  bytes: number;
}

export interface Collected {
  files: Found[];
  skipped: { path: string; why: string }[];
}

/** Metacharacters that make a path a pattern; the folder before the first of them is the root of its names. */
const firstMeta = /[*?[{(!]/;

/**
 * Every file that the paths name: files, folders with all below them, and globs.
 * Hidden files, node_modules and what can't be read are left out, and told.
 * @throws CommandFailure naming every path that does not exist, can't be read or matches nothing, or the files that
 * would have one id
 */
export async function collect(paths: readonly string[], cwd: string): Promise<Collected> {
  const collected: Collected = { files: [], skipped: [] };
  const missing: string[] = [];
  for (const path of paths) {
    const full = resolve(cwd, path);
    const stats = await stat(full).catch((error: NodeJS.ErrnoException) => error);
    if (!(stats instanceof Error)) {
      if (stats.isDirectory()) await walk(full, full, collected);
      else collected.files.push({ path: full, name: portable(basename(full)), bytes: stats.size });
    } else if (isDynamicPattern(path)) {
      if (!(await matches(path, cwd, collected))) missing.push(`${path} matches no file`);
    } else missing.push(`${path} ${stats.code === 'ENOENT' ? 'does not exist' : unreadable(stats)}`);
  }
  if (missing.length > 0) throw new CommandFailure(missing.join('\n       '));
  return { files: withoutDoubles(collected.files, cwd), skipped: collected.skipped };
}

async function walk(folder: string, root: string, into: Collected): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: Error) => error);
  if (entries instanceof Error) {
    if (folder === root) throw new CommandFailure(`${folder} ${unreadable(entries)}`);
    into.skipped.push({ path: folder, why: unreadable(entries) });
    return;
  }
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    const why = reasonToSkip(entry);
    if (why !== undefined) into.skipped.push({ path, why });
    else if (entry.isDirectory()) await walk(path, root, into);
    else await add(path, root, into);
  }
}

/** Takes a file found under a root; it may have vanished meanwhile. */
async function add(path: string, root: string, into: Collected): Promise<void> {
  const stats = await stat(path).catch((error: Error) => error);
  if (stats instanceof Error) into.skipped.push({ path, why: unreadable(stats) });
  else
    into.files.push({ path, name: portable(join(basename(root), relative(root, path))), bytes: stats.size });
}

function unreadable(error: Error): string {
  return `can't be read: ${error.message}`;
}

function reasonToSkip(entry: Dirent): string | undefined {
  if (entry.name.startsWith('.')) return 'hidden';
  if (entry.name === 'node_modules' && entry.isDirectory()) return 'packages, not documents';
  // A link may lead out of the folder or round in a circle.
  if (entry.isSymbolicLink()) return 'a symbolic link';
  return entry.isFile() || entry.isDirectory() ? undefined : 'neither a file nor a folder';
}

/** @returns whether any file matched */
async function matches(pattern: string, cwd: string, into: Collected): Promise<boolean> {
  const fixed = pattern.slice(0, pattern.search(firstMeta));
  const root = resolve(cwd, fixed.slice(0, fixed.lastIndexOf('/') + 1));
  const rest = pattern.slice(fixed.lastIndexOf('/') + 1);
  const found = await glob(`${convertPathToPattern(root)}/${rest}`, {
    absolute: true,
    cwd: root,
    followSymbolicLinks: false,
    ignore: ['**/node_modules/**'],
    onlyFiles: true,
  });
  for (const path of found.sort()) await add(resolve(path), root, into);
  return found.length > 0;
}

/**
 * A file given twice is sent once, under its first id.
 * @throws CommandFailure when two files have one id: the second would replace the first
 */
function withoutDoubles(files: readonly Found[], cwd: string): Found[] {
  const unique = new Map<string, Found>();
  for (const file of files) if (!unique.has(file.path)) unique.set(file.path, file);
  const doubles = [...Map.groupBy(unique.values(), ({ name }) => name)].filter(
    ([, sharing]) => sharing.length > 1,
  );
  if (doubles.length === 0) return [...unique.values()];
  const [name, sharing] = doubles[0]!;
  const which = sharing.map(({ path }) => relative(cwd, path)).join(' and ');
  const more = doubles.length > 1 ? ` (and ${doubles.length - 1} more ids like it)` : '';
  throw new CommandFailure(
    `${which} would have the same id ${name}${more}, and one replace the other. Give a folder above them, or ingest ` +
      'them into collections of their own.',
  );
}

/** An id must not hold control characters. */
function portable(path: string): string {
  return path
    .split(sep)
    .join('/')
    .replace(/\p{Cc}/gu, '_');
}
