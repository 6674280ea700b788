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

/** A failed write as the person at the terminal should read it; anything else as it is. */
export async function diskFailure(
  error: unknown,
  at: { file: string; target: string; missing: number; surroundings: Surroundings },
): Promise<unknown> {
  const { code, message } = error as NodeJS.ErrnoException;
  const { file, target, missing, surroundings } = at;
  if (code === 'EACCES' || code === 'EROFS' || code === 'EPERM')
    return new CommandFailure(`${target} can't be written: ${message}`, { cause: error });
  if (code === undefined || !fullDisk.has(code)) return error;
  const free = await surroundings.freeBytes(target).catch(() => undefined);
  return new CommandFailure(
    `the disk is full: ${file} needs ${missing} more bytes (${amount(missing)}), ${free === undefined ? 'how many are free is unknown' : `${free} (${amount(free)}) are free`}. ` +
      'What has arrived stays in place and no version was made: free some space and run the same command again to go on.',
    { cause: error },
  );
}
