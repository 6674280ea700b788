import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { contentsOf, type FileMark } from './file-marks.ts';
import type { KnownFacts } from './known-facts.ts';

/** Names of a version's list of checksums. */
const MANIFESTS = ['SHA256SUMS', 'manifest.sha256'];
const LARGEST_MANIFEST_BYTES = 1024 * 1024;

/** A checksum that files of a version must have. */
interface Expected {
  name: string;
  hash: string;
  /** The manifest that says so. */
  source: string;
}

/** What keeps a version from being complete; `isFinal` when no waiting will mend it. */
export interface Shortcoming {
  why: string;
  isFinal: boolean;
}

/** Holds a version's files against its checksums, if it has any; undefined when all agree. */
export async function checkManifests(
  marks: readonly FileMark[],
  modelFile: string,
  facts: KnownFacts,
): Promise<Shortcoming | undefined> {
  for (const manifest of marks) {
    const isOfModel = manifest.name === `${modelFile}.sha256`;
    if (!isOfModel && !MANIFESTS.includes(manifest.name)) continue;
    if (manifest.size > LARGEST_MANIFEST_BYTES)
      return {
        why: `${manifest.name} has ${manifest.size} bytes; ${LARGEST_MANIFEST_BYTES} at most are read`,
        isFinal: true,
      };
    const text = await readFile(manifest.path, 'utf8');
    const expected = isOfModel ? ofModel(text, manifest.name, modelFile) : parse(text, manifest.name);
    if ('why' in expected) return expected;
    for (const one of expected) {
      const shortcoming = await checkOne(one, marks, facts);
      if (shortcoming !== undefined) return shortcoming;
    }
  }
  return undefined;
}

/** `<model file>.sha256` holds the hash alone, or a line of sha256sum. */
function ofModel(text: string, source: string, modelFile: string): Expected[] | Shortcoming {
  const hash = /^\\?([0-9a-fA-F]{64})(\s|$)/.exec(text)?.[1];
  if (hash === undefined) return { why: `${source} holds no sha256 (yet)`, isFinal: false };
  return [{ name: modelFile, hash: hash.toLowerCase(), source }];
}

/** The lines of sha256sum: hash, a blank, a blank or *, name. */
function parse(text: string, source: string): Expected[] | Shortcoming {
  const expected: Expected[] = [];
  const lines = text.split(/\r?\n/);
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const match = /^([0-9a-fA-F]{64}) [ *](.+)$/.exec(line);
    if (match === null)
      return { why: `${source}, line ${index + 1}: no sha256 and name (yet)`, isFinal: false };
    const name = posix.normalize(match[2]!);
    if (name.startsWith('../') || name.startsWith('/'))
      return {
        why: `${source}, line ${index + 1}: ${name} lies outside of the version folder`,
        isFinal: true,
      };
    expected.push({ name, hash: match[1]!.toLowerCase(), source });
  }
  return expected;
}

async function checkOne(
  { name, hash, source }: Expected,
  marks: readonly FileMark[],
  facts: KnownFacts,
): Promise<Shortcoming | undefined> {
  const file = marks.find((mark) => mark.name === name && mark.size >= 0);
  if (file === undefined) return { why: `${source} lists ${name}, which is missing`, isFinal: false };
  const actual = await facts.of(`sha256 ${file.path}`, file.mark, () => sha256Of(file.path));
  if (actual === hash) return undefined;
  return { why: `${name} has sha256 ${actual}, but ${source} says ${hash}`, isFinal: true };
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of contentsOf(path)) hash.update(part);
  return hash.digest('hex');
}
