import { CommandFailure } from '../exit-codes.ts';
import type { Surroundings } from './source.ts';

/** Bytes as a person reads them, and exactly. */
export function amount(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const step = Math.min(units.length - 1, bytes < 1024 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return step === 0 ? `${bytes} B` : `${(bytes / 1024 ** step).toFixed(1)} ${units[step]}`;
}

/**
 * Refuses before anything is written when the disk can't hold what is missing.
 * @throws CommandFailure with both figures
 */
export async function requireSpace(
  folder: string,
  missingBytes: number,
  surroundings: Surroundings,
): Promise<void> {
  const free = await surroundings.freeBytes(folder);
  if (free >= missingBytes) return;
  throw new CommandFailure(
    `the disk of ${folder} is too small: ${missingBytes} bytes (${amount(missingBytes)}) are needed, ${free} (${amount(free)}) are free. ` +
      'Free some, or choose another folder with --model-repository.',
  );
}

const fullDisk = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

/** What the system refused, as the person at the terminal should read it; any other error as it is. */
export async function diskFailure(
  error: unknown,
  at: { what: string; target: string; missingBytes?: number; surroundings: Surroundings },
): Promise<unknown> {
  const { what, target, missingBytes, surroundings } = at;
  const { code, message, syscall } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return error;
  if (!fullDisk.has(code))
    return new CommandFailure(`${what} can't be put in place: ${message}`, { cause: error });
  const free = await surroundings.freeBytes(target).catch(() => undefined);
  const needs =
    missingBytes === undefined ? 'has no room' : `needs ${missingBytes} more bytes (${amount(missingBytes)})`;
  const left = free === undefined ? 'how many are free is unknown' : `${free} (${amount(free)}) are free`;
  return new CommandFailure(
    `the disk is full: ${what} ${needs}, ${left}. No version was made: free some space and run the same command again.`,
    { cause: error },
  );
}
