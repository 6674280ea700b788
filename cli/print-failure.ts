import { ConfigError } from './config/config-error.ts';
import { CommandFailure, exitCodes } from './exit-codes.ts';

/**
 * Tells what went wrong on standard error. Errors that carry a reason were written for the reader; of any other, the
 * stack is what helps.
 * @returns the exit code
 */
export function printFailure(thrown: unknown): number {
  if (thrown instanceof ConfigError) {
    console.error(`error: ${thrown.message}`);
    return exitCodes.usage;
  }
  if (thrown instanceof CommandFailure) {
    console.error(`error: ${thrown.message}`);
    return thrown.exitCode;
  }
  if (thrown instanceof Error && 'reason' in thrown) {
    console.error(`error: ${thrown.reason}: ${thrown.message}`);
    return exitCodes.failed;
  }
  console.error(thrown instanceof Error ? (thrown.stack ?? thrown.message) : `error: ${String(thrown)}`);
  return exitCodes.failed;
}
