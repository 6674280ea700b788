import { parentPort } from 'node:worker_threads';
import type { WorkerPort } from './port.ts';

/** The port of a worker thread. @throws Error outside of one */
export function openThreadPort(): WorkerPort {
  const port = parentPort;
  if (port === null) throw new Error('this program runs inside a worker thread');
  return {
    send: (message, transfer = []) => port.postMessage(message, transfer),
    onMessage: (listener) => void port.on('message', listener),
    close: () => port.close(),
    residentBytes: () => undefined,
  };
}
