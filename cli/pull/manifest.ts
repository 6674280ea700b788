import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Surroundings } from './source.ts';

export const MANIFEST_FILE = 'SHA256SUMS';
export const PROVENANCE_FILE = 'pulled.json';

const provenanceSchema = z.object({
  /** Address on the hub, or path of the folder. */
  source: z.string(),
  revision: z.string().optional(),
  commit: z.string().optional(),
  /** The ONNX file in the source; it lies here as model.onnx. */
  file: z.string(),
  precision: z.string(),
  /** SHA-256 over names and hashes of all files that came from the source. */
  content: z.string(),
  pulled_at: z.string(),
  nereid: z.string(),
});

/** Where a version came from. */
export type Provenance = z.infer<typeof provenanceSchema>;

/** A file in the version folder and its SHA-256, hexadecimal. */
export interface Hashed {
  target: string;
  sha256: string;
}

/** One hash for all files, whatever their order. */
export function contentOf(files: readonly Hashed[]): string {
  return createHash('sha256').update(linesOf(files)).digest('hex');
}

/** Writes `pulled.json`, and `SHA256SUMS` over it and all files, as `sha256sum -c` reads it. */
export async function writeManifests(
  folder: string,
  {
    files,
    provenance,
    surroundings,
  }: { files: readonly Hashed[]; provenance: Provenance; surroundings: Surroundings },
): Promise<void> {
  const text = `${JSON.stringify(provenance, null, 2)}\n`;
  const sha256 = createHash('sha256').update(text).digest('hex');
  await write(join(folder, PROVENANCE_FILE), text, surroundings);
  await write(
    join(folder, MANIFEST_FILE),
    linesOf([...files, { target: PROVENANCE_FILE, sha256 }]),
    surroundings,
  );
}

/** The provenance of each version of a model that was pulled, by version; what can't be read or lacks files is left out. */
export async function pulledVersions(modelFolder: string): Promise<Map<number, Provenance>> {
  const found = new Map<number, Provenance>();
  for (const version of await versionsOf(modelFolder)) {
    const folder = join(modelFolder, String(version));
    const text = await readFile(join(folder, PROVENANCE_FILE), 'utf8').catch(() => '');
    const read = provenanceSchema.safeParse(asJson(text));
    if (read.success && (await hasAllFiles(folder))) found.set(version, read.data);
  }
  return found;
}

/** Whether all that its manifest lists is there; what is in the files is for the server to check. */
async function hasAllFiles(folder: string): Promise<boolean> {
  const manifest = await readFile(join(folder, MANIFEST_FILE), 'utf8').catch(() => '');
  const targets = manifest.split('\n').flatMap((line) => /^[0-9a-f]{64} {2}(.+)$/.exec(line)?.[1] ?? []);
  const found = await Promise.all(
    targets.map((target) =>
      stat(join(folder, target)).then(
        (stats) => stats.isFile(),
        () => false,
      ),
    ),
  );
  return targets.length > 0 && found.every(Boolean);
}

/** The version folders of a model, lowest first; none if the model is not there. */
export async function versionsOf(modelFolder: string): Promise<number[]> {
  const names = await readdir(modelFolder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names
    .filter((name) => /^[1-9]\d{0,14}$/.test(name))
    .map(Number)
    .sort((a, b) => a - b);
}

function linesOf(files: readonly Hashed[]): string {
  return [...files]
    .sort((a, b) => (a.target < b.target ? -1 : 1))
    .map(({ target, sha256 }) => `${sha256}  ${target}\n`)
    .join('');
}

async function write(path: string, text: string, surroundings: Surroundings): Promise<void> {
  const handle = await surroundings.open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
