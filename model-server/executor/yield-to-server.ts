import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';

/** Enough for the server's thread to be run at once when it has something to do, and no more. */
const NICE = 5;

/**
 * Makes the calling thread, and those that it starts from now on, give way to the server's thread. That thread needs little,
 * but where all cores compute it would wait its turn for it, and callers, batches and deadlines with it: at twice the load
 * that two cores can do, a tenth more answers came in time.
 */
export function yieldToServer(): void {
  if (process.platform !== 'linux') return;
  try {
    // <pid>/task/<tid>: on Linux each thread has a niceness of its own, and nothing else in Node tells its id.
    const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
    if (thread > 0) setPriority(thread, NICE);
  } catch {
    // A sandbox may hide /proc or forbid it; then all threads take turns.
  }
}
