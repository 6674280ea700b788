const CODES = ['ENOENT', 'ENOTDIR', 'ELOOP'];

/** Whether a file operation failed because the file is not there (any more), or is a link that leads nowhere. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && CODES.includes(String(error.code));
}
