import { Worker } from 'node:worker_threads';
import type { Channel, ChannelOptions } from './channel.ts';

/** A worker runs one session and makes little garbage of its own; without a limit its nursery grows to many times that. */
const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 2 };

/** Starts a worker thread. */
export function openThread({ program, onMessage, onDeath }: ChannelOptions): Channel {
  const worker = new Worker(program, { resourceLimits: RESOURCE_LIMITS });
  const ended = Promise.withResolvers<void>();
  worker.on('message', onMessage);
  worker.on('error', (error) => onDeath(error.message));
  worker.on('exit', (code) => {
    onDeath(`its thread ended with code ${code}`);
    ended.resolve();
  });
  return {
    post: (message, transfer = []) => worker.postMessage(message, transfer),
    kill: () => void worker.terminate(),
    ended: ended.promise,
  };
}
