import { ServingError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { AdminRule } from './admin-guard.ts';
import type { AdminPort, ServingPort } from './ports.ts';

/** What every handler needs. */
export interface ApiDeps {
  serving: ServingPort;
  admin: AdminPort;
  /** Who may administrate. */
  adminRule: AdminRule;
  /** Whether the control mode is explicit, so that clients of the Open Inference Protocol may load and unload. */
  explicitControl: boolean;
  serverVersion: string;
  metrics: Pick<Metrics, 'requestDone'>;
  log: Log;
  maxInputsPerCall: number;
  inFlight: InFlight;
}

/** How many requests are being answered, messages of streams counted one by one. */
export class InFlight {
  #count = 0;
  #onIdle: (() => void)[] = [];

  enter(): void {
    this.#count++;
  }

  leave(): void {
    this.#count--;
    if (this.#count === 0) for (const tell of this.#onIdle.splice(0)) tell();
  }

  /** Resolves when nothing is being answered. */
  idle(): Promise<void> {
    return this.#count === 0 ? Promise.resolve() : new Promise((resolve) => this.#onIdle.push(resolve));
  }
}

/** Runs one request, counts and logs its outcome. @throws ServingError only */
export async function measured<T>(deps: ApiDeps, method: string, run: () => Promise<T>): Promise<T> {
  const started = performance.now();
  deps.inFlight.enter();
  let reason = 'OK';
  try {
    return await run();
  } catch (thrown) {
    const error = ServingError.from(thrown);
    reason = error.reason;
    // An INTERNAL error is ours to mend, so its stack belongs in the log; the others are told to the caller.
    deps.log[error.row.level](
      { method, reason, ...(reason === 'INTERNAL' ? { err: error } : {}) },
      error.message,
    );
    throw error;
  } finally {
    deps.inFlight.leave();
    deps.metrics.requestDone({ method, reason, seconds: (performance.now() - started) / 1000 });
  }
}
