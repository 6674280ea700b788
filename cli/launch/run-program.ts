import { printFailure } from '../print-failure.ts';
import { onStopSignals } from './stop-signals.ts';

/** Ports that a program really listens on, by the name of their setting. */
export type Ports = Readonly<Record<string, number>>;

/** What a program tells the `nereid up` that started it. */
export interface ReadyMessage {
  type: 'ready';
  ports: Ports;
}

/** A program that runs. */
export interface Running {
  ports: Ports;
  /** Finishes what runs, within the program's own deadline. */
  close(): Promise<void>;
}

/** Exit code after a second Ctrl-C. */
export const INTERRUPTED = 130;

/**
 * Runs one program in this process until it is told to stop: SIGTERM, Ctrl-C, or the end of the `nereid up` that
 * started it. It is then drained and the process ends with 0; a second signal ends it at once. When it can't start,
 * the reason is printed and the process ends.
 */
export async function runProgram(start: () => Promise<Running>): Promise<never> {
  const stop = Promise.withResolvers<void>();
  // Under `nereid up` the terminal's Ctrl-C is for that process, which then stops its programs in order.
  const supervised = process.connected;
  let started = false;
  const requested = () => {
    // Nothing is served yet, so there is nothing to finish.
    if (!started) process.exit(0);
    stop.resolve();
  };
  onStopSignals(supervised ? ['SIGTERM'] : ['SIGTERM', 'SIGINT'], {
    first: requested,
    again: () => process.exit(INTERRUPTED),
  });
  if (supervised) {
    process.on('SIGINT', () => undefined);
    process.once('disconnect', requested);
  }
  // When nobody reads the log any more (`nereid up` was killed), that must not break the drain.
  for (const stream of [process.stdout, process.stderr]) {
    stream.removeAllListeners('error');
    stream.on('error', () => undefined);
  }
  const running = await start().catch((error: unknown) => {
    // What was opened before it failed must not keep the process.
    process.exit(printFailure(error));
  });
  started = true;
  const message: ReadyMessage = { type: 'ready', ports: running.ports };
  if (supervised) process.send?.(message);
  await stop.promise;
  await running.close();
  process.exit(0);
}
