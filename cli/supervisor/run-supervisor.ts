import { INTERRUPTED, type Ports } from '../launch/run-program.ts';
import { onStopSignals } from '../launch/stop-signals.ts';
import type { Supervisor } from './supervisor.ts';

export interface RunSupervisorOptions {
  /** Every program is ready to work. */
  onReady: (ports: Ports) => void;
  onNotice: (notice: string) => void;
}

/**
 * Runs the programs until Ctrl-C or SIGTERM, which drains them (a second one kills them), or until one of them has
 * ended for good, which stops the others.
 * @returns the exit code: 0 after draining, 1 when a program was given up
 */
export async function runSupervisor(supervisor: Supervisor, options: RunSupervisorOptions): Promise<number> {
  const stop = Promise.withResolvers<number>();
  onStopSignals(['SIGINT', 'SIGTERM'], {
    first: () => {
      options.onNotice('stopping; once more to end at once');
      stop.resolve(0);
    },
    again: () => {
      supervisor.kill();
      process.exit(INTERRUPTED);
    },
  });
  supervisor.gaveUp.then((why) => {
    options.onNotice(`${why}; it is not started again`);
    stop.resolve(1);
  });
  supervisor.ready.then(options.onReady);
  supervisor.start();
  const code = await stop.promise;
  await supervisor.stop();
  return code;
}
