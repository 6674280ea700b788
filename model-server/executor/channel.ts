import type { FromWorker, ToWorker } from './protocol.ts';

/** How an instance is kept apart from the server: by a thread, or by a process whose death takes nothing else down. */
export type Isolation = 'thread' | 'process';

export interface ChannelOptions {
  /** The program of the worker. */
  program: URL;
  onMessage: (message: FromWorker) => void;
  /** Called once, when the worker has ended or can't be reached any more. */
  onDeath: (why: string) => void;
  /** For processes: the environment of the child; the server's own when absent. */
  env?: Readonly<Record<string, string>> | undefined;
}

/** The server's end of the channel to one worker; who uses it need not know whether that is a thread. */
export interface Channel {
  /** `transfer` moves instead of copying where that is possible. Does nothing when the worker has ended. */
  post(message: ToWorker, transfer?: ArrayBuffer[]): void;
  /** Ends the worker at once. A thread inside native code ends when that returns. */
  kill(): void;
  /** Resolves when the worker has ended. */
  readonly ended: Promise<void>;
}
