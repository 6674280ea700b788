import { Worker } from 'node:worker_threads';
import type { WorkerPort } from './port.ts';
import type { ToWorker } from './protocol.ts';

/**
 * Ends the process when its parent has gone. The main thread would learn of that from its channel, but not while it is
 * inside a batch that never ends; a process that outlives its server keeps a model's memory for ever.
 */
const WATCH_PARENT = `
const { workerData: parent } = require('node:worker_threads');
setInterval(() => process.ppid !== parent && process.kill(process.pid, 'SIGKILL'), 500);
`;

/** The port of a child process that was forked with an IPC channel. */
export function openProcessPort(): WorkerPort {
  const limits = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 8, stackSizeMb: 1 };
  // Read here: the thread may begin after the parent has gone.
  const parent = process.ppid;
  new Worker(WATCH_PARENT, { eval: true, workerData: parent, resourceLimits: limits }).unref();
  // Who stops the server (Ctrl-C in a terminal, an init system) often signals all its processes; the server then still
  // finishes what runs, and it is the server that ends this process.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
  process.on('disconnect', () => process.exit(0));
  return {
    send: (message) => void process.send!(message),
    onMessage: (listener) => void process.on('message', (message) => listener(message as ToWorker)),
    close: () => process.disconnect(),
    residentBytes: () => process.memoryUsage.rss(),
  };
}
