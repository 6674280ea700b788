import { type Dirent, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join, relative, resolve, sep } from 'node:path';
import { convertPathToPattern, glob, isDynamicPattern } from 'tinyglobby';
import { CommandFailure } from '../exit-codes.ts';

/** A file to upload. */
export interface Found {
  path: string;
  /** Its id in the collection: the path under the folder that was given, with `/`. */
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
 * Hidden files and node_modules are left out, and told.
 * @throws CommandFailure naming every path that does not exist or matches nothing
 */
export async function collect(paths: readonly string[], cwd: string): Promise<Collected> {
  const collected: Collected = { files: [], skipped: [] };
  const missing: string[] = [];
  for (const path of paths) {
    const full = resolve(cwd, path);
    const stats = statSync(full, { throwIfNoEntry: false });
    if (stats?.isDirectory()) await walk(full, full, collected);
    else if (stats !== undefined)
      collected.files.push({ path: full, name: portable(basename(full)), bytes: stats.size });
    else if (!isDynamicPattern(path)) missing.push(`${path} does not exist`);
    else if (!(await matches(path, cwd, collected))) missing.push(`${path} matches no file`);
  }
  if (missing.length > 0) throw new CommandFailure(missing.join('\n       '));
  return { files: withoutDoubles(collected.files, cwd), skipped: collected.skipped };
}

async function walk(folder: string, root: string, into: Collected): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    const why = reasonToSkip(entry);
    if (why !== undefined) into.skipped.push({ path, why });
    else if (entry.isDirectory()) await walk(path, root, into);
    else into.files.push({ path, name: portable(relative(root, path)), bytes: statSync(path).size });
  }
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
  for (const path of found.sort()) {
    into.files.push({
      path: resolve(path),
      name: portable(relative(root, path)),
      bytes: statSync(path).size,
    });
  }
  return found.length > 0;
}

/** A file given twice is sent once; different files of one name are told apart by their path from here. */
function withoutDoubles(files: readonly Found[], cwd: string): Found[] {
  const unique = [...new Map(files.map((file) => [file.path, file])).values()];
  const byName = Map.groupBy(unique, ({ name }) => name);
  return unique.map((file) =>
    byName.get(file.name)!.length === 1 ? file : { ...file, name: portable(relative(cwd, file.path)) },
  );
}

/** An id must not hold control characters. */
function portable(path: string): string {
  return path
    .split(sep)
    .join('/')
    .replace(/\p{Cc}/gu, '_');
}
