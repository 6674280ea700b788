import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { Ports, ReadyMessage } from '../launch/run-program.ts';

/** How a child process is started. */
export interface ProgramCommand {
  file: string;
  args: readonly string[];
  env: NodeJS.ProcessEnv;
}

/** A program that dies is started again after `firstMs`, then twice that, and so on up to `longestMs`. */
export interface RestartPolicy {
  firstMs: number;
  longestMs: number;
  /** Restarts within `windowMs` at most; one more death is final. */
  most: number;
  windowMs: number;
}

export interface ProgramOptions {
  name: string;
  /** Gets the ports that the program listened on before, so that a restart comes back under the same ones. */
  command: (ports: Ports | undefined) => ProgramCommand;
  restart: RestartPolicy;
  /** One line of the program's output. */
  onLine: (line: string) => void;
  /** What happens to it, for the person at the terminal. */
  onNotice: (notice: string) => void;
  /** It listens (again). */
  onReady: (ports: Ports) => void;
  /** It ended and is not started again. */
  onGiveUp: (why: string) => void;
}

/** One child process that is kept alive until it is told to stop. */
export class Program {
  readonly #options: ProgramOptions;
  #child: ChildProcess | undefined;
  #ports: Ports | undefined;
  #pendingRestart: NodeJS.Timeout | undefined;
  #deathsMs: number[] = [];
  #stopping = false;
  #ended = Promise.resolve();

  constructor(options: ProgramOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  start(): void {
    if (this.#stopping) return;
    const { file, args, env } = this.#options.command(this.#ports);
    // The channel tells when it is ready, and ends with this process however that ends: the child then stops too.
    const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) this.#forward(stream);
    child.on('message', (message: ReadyMessage) => {
      if (message.type !== 'ready') return;
      this.#ports = message.ports;
      this.#options.onReady(message.ports);
    });
    const ended = Promise.withResolvers<void>();
    this.#ended = ended.promise;
    let failure: Error | undefined;
    child.once('error', (error) => {
      failure = error;
      // Without a process id it never started, and there will be no exit.
      if (child.pid === undefined) child.emit('close', null, null);
    });
    // `close` comes after the last line of output, so the reason stands above the notice.
    child.once('close', (code, signal) => {
      this.#child = undefined;
      ended.resolve();
      this.#onEnd(failure?.message ?? howItEnded(code, signal), signal !== null);
    });
  }

  /** Lets it finish what runs; after `graceMs` it is killed. Resolves when it has ended. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#pendingRestart);
    const child = this.#child;
    if (child === undefined) return this.#ended;
    child.kill('SIGTERM');
    const timer = setTimeout(() => {
      this.#options.onNotice(`did not stop within ${graceMs} ms and is killed`);
      child.kill('SIGKILL');
    }, graceMs);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Ends it at once. */
  kill(): void {
    this.#stopping = true;
    clearTimeout(this.#pendingRestart);
    this.#child?.kill('SIGKILL');
  }

  #forward(stream: Readable | null): void {
    if (stream !== null) createInterface({ input: stream }).on('line', this.#options.onLine);
  }

  #onEnd(how: string, bySignal: boolean): void {
    if (this.#stopping) return;
    // A program that ends by itself before it was ever ready has a reason that the next start would meet again.
    if (this.#ports === undefined && !bySignal) {
      this.#giveUp(`${how} before it was ready`);
      return;
    }
    const { firstMs, longestMs, most, windowMs } = this.#options.restart;
    const nowMs = Date.now();
    this.#deathsMs = [...this.#deathsMs.filter((deathMs) => deathMs > nowMs - windowMs), nowMs];
    if (this.#deathsMs.length > most) {
      this.#giveUp(`${how}; that was death number ${this.#deathsMs.length} within ${windowMs / 1000} s`);
      return;
    }
    const delayMs = Math.min(longestMs, firstMs * 2 ** (this.#deathsMs.length - 1));
    this.#options.onNotice(`${how}; it is started again in ${delayMs} ms`);
    this.#pendingRestart = setTimeout(() => this.start(), delayMs);
  }

  #giveUp(why: string): void {
    this.#stopping = true;
    this.#options.onGiveUp(why);
  }
}

function howItEnded(code: number | null, signal: NodeJS.Signals | null): string {
  return signal === null ? `ended with code ${code}` : `was ended by ${signal}`;
}
