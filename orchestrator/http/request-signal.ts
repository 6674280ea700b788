import type { ServerResponse } from 'node:http';
import { RagError } from '../errors.ts';

export interface RequestSignalOptions {
  /** Milliseconds that the request may take. None: as long as it needs. */
  timeoutMs?: number | undefined;
  /** Aborted when the process can't wait for requests any longer. */
  stopping: AbortSignal;
}

/** One signal for all that is done for a request: the caller went away, its time ran out, or the process stops. */
export function requestSignal(response: ServerResponse, options: RequestSignalOptions): AbortSignal {
  const { timeoutMs, stopping } = options;
  const controller = new AbortController();
  const onStop = () => controller.abort(new RagError('STOPPING', 'The orchestrator is shutting down.'));
  const onTimeout = () => {
    const message = `The answer was not ready within ${timeoutMs} ms (--request-timeout-ms).`;
    controller.abort(new RagError('DEADLINE_EXCEEDED', message));
  };
  const timer = timeoutMs === undefined ? undefined : setTimeout(onTimeout, timeoutMs);
  stopping.addEventListener('abort', onStop, { once: true });
  response.once('close', () => {
    clearTimeout(timer);
    stopping.removeEventListener('abort', onStop);
    if (!response.writableFinished) {
      controller.abort(new RagError('CANCELLED', 'The caller went away before the answer was ready.'));
    }
  });
  if (stopping.aborted) onStop();
  return controller.signal;
}
