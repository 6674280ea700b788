import { randomUUID } from 'node:crypto';
import { constants, type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ServingError } from '../../errors.ts';
import { parseRollout, ROLLOUT_FILE, renderRollout } from './rollout-text.ts';
import type { RolloutPlan } from './status.ts';

const MOST_BYTES = 64 * 1024;

/**
 * The plan in a rollout.yaml.
 * @returns undefined when there is no such file
 * @throws ServingError MODEL_CONFIG_INVALID naming every problem with its line, or why the file can't be read
 */
export async function readRollout(file: string): Promise<RolloutPlan | undefined> {
  const text = await readRolloutText(file);
  return text === undefined ? undefined : planIn(text);
}

/**
 * Writes a plan to rollout.yaml, keeping the comments that are there. Readers see the old file or the new one, never
 * a part; after a failure the old one stands.
 * @throws ServingError INTERNAL when it can't be written (folder missing, disk full, no permission)
 */
export async function writeRollout(file: string, plan: RolloutPlan): Promise<void> {
  await replaceRollout(file, renderRollout(plan, (await readRolloutText(file)) ?? ''));
}

/**
 * The plan that a text of rollout.yaml says.
 * @throws ServingError MODEL_CONFIG_INVALID naming every problem with its line
 */
export function planIn(text: string): RolloutPlan {
  const parsed = parseRollout(text);
  if ('plan' in parsed) return parsed.plan;
  throw new ServingError('MODEL_CONFIG_INVALID', parsed.problems.join('\n'));
}

/**
 * The text of a rollout.yaml; undefined when there is none.
 * @throws ServingError MODEL_CONFIG_INVALID when it is no readable file of 64 KB at most
 */
export async function readRolloutText(file: string): Promise<string | undefined> {
  let handle: FileHandle | undefined;
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer.
    handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const { size } = await handle.stat().then(fileOnly);
    if (size > MOST_BYTES) throw new Error(`has ${size} bytes; the limit is ${MOST_BYTES}`);
    const buffer = Buffer.alloc(MOST_BYTES + 1);
    let filled = 0;
    while (filled < buffer.length) {
      const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled);
      if (bytesRead === 0) return buffer.toString('utf8', 0, filled);
      filled += bytesRead;
    }
    throw new Error(`has more than ${MOST_BYTES} bytes, which is the limit`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    const message = `${ROLLOUT_FILE} can't be read: ${file}: ${(error as Error).message}`;
    throw new ServingError('MODEL_CONFIG_INVALID', message, { cause: error });
  } finally {
    await handle?.close();
  }
}

function fileOnly<Stats extends { isFile(): boolean }>(stats: Stats): Stats {
  if (!stats.isFile()) throw new Error('is no regular file');
  return stats;
}

/**
 * Puts a text in a rollout.yaml's place in one step.
 * @throws ServingError INTERNAL when it can't be written; the old file then stands and nothing is left over
 */
export async function replaceRollout(file: string, text: string): Promise<void> {
  const folder = dirname(file);
  const part = join(folder, `.${ROLLOUT_FILE}.${randomUUID()}.part`);
  try {
    const handle = await open(part, 'wx');
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(part, file);
  } catch (error) {
    await rm(part, { force: true }).catch(() => undefined);
    throw new ServingError(
      'INTERNAL',
      `${file} can't be written: ${(error as Error).message}; the rollout stays as it was. Make the folder writable, or free disk space, and try again.`,
      { cause: error },
    );
  }
  await syncFolder(folder);
}

/** Makes a rename last through a power cut, where the platform lets a folder be opened. */
async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  } catch {
    // The file itself is safe; some systems can't sync a folder.
  }
}
