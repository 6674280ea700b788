import type { FromWorker, ToWorker } from './protocol.ts';

/** The worker's end of its channel to the server; the program of a worker need not know whether it is a thread. */
export interface WorkerPort {
  send(message: FromWorker, transfer?: ArrayBuffer[]): void;
  onMessage(listener: (message: ToWorker) => void): void;
  /** Ends the worker when nothing runs any more. */
  close(): void;
  /** Resident memory of the worker's own process; undefined for a thread. */
  residentBytes(): number | undefined;
}
