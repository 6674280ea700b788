/** What the exit code of every command means. */
export const exitCodes = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** For the end of every `--help`. */
export const exitCodesHelp = `
Exit codes: 0 done, 1 failed (the message says why), 2 wrong usage or configuration, 130 interrupted by Ctrl-C.`;

/** A failure whose message is all that the person at the terminal needs; no stack trace is printed. */
export class CommandFailure extends Error {
  readonly exitCode: number;

  constructor(message: string, options: { exitCode?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CommandFailure';
    this.exitCode = options.exitCode ?? exitCodes.failed;
  }
}
