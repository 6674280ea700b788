import { ServingError } from '../../errors.ts';

const CODES = ['ENOENT', 'ENOTDIR', 'ELOOP'];

/** Whether a file operation failed because the file is not there (any more), or is a link that leads nowhere. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && CODES.includes(String(error.code));
}

/**
 * Reads files of a version that may be deleted meanwhile.
 * @throws ServingError MODEL_LOAD_FAILED when one of them is gone
 */
export async function readOfVersion<Result>(
  { name, version }: { name: string; version: number },
  read: () => Promise<Result>,
): Promise<Result> {
  try {
    return await read();
  } catch (cause) {
    if (!isMissing(cause)) throw cause;
    const path = (cause as NodeJS.ErrnoException).path ?? 'a file';
    const message = `model ${name} version ${version}: ${path} went away before it was read`;
    throw new ServingError('MODEL_LOAD_FAILED', message, { cause });
  }
}
