import { isMainThread } from 'node:worker_threads';
import type { WorkerPort } from './port.ts';
import { openProcessPort } from './process-port.ts';
import { openThreadPort } from './thread-port.ts';

/** The port of the worker that calls it: a worker thread's, or, on a main thread, the one of a child process. */
export function openWorkerPort(): WorkerPort {
  return isMainThread ? openProcessPort() : openThreadPort();
}
