import type { Ports } from '../launch/run-program.ts';
import { Program, type ProgramCommand, type RestartPolicy } from './program.ts';

export interface SupervisedProgram {
  name: string;
  /** `others` holds the ports of the programs before this one; `own` those that this one had before a restart. */
  command: (known: { own: Ports | undefined; others: Ports }) => ProgramCommand;
  /** Where it says that it is ready to work, by a 200. */
  readyUrl: (ports: Ports) => string;
  /** Milliseconds that it may take to finish what runs before it is killed. */
  graceMs: number;
}

export interface SupervisorOptions {
  /** In the order of starting: each waits until the one before it listens. They are stopped in the reverse order. */
  programs: readonly SupervisedProgram[];
  restart?: RestartPolicy | undefined;
  onLine: (program: string, line: string) => void;
  onNotice: (program: string, notice: string) => void;
}

const defaultRestart: RestartPolicy = { firstMs: 250, longestMs: 10_000, most: 5, windowMs: 60_000 };
const POLL_MS = 100;
/** After this long without being ready, the person at the terminal is told why. */
const SLOW_MS = 10_000;

/** Starts several programs, keeps them alive, and stops them in order. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #programs: Program[];
  readonly #ports: (Ports | undefined)[];
  readonly #readyIndexes = new Set<number>();
  readonly #ready = Promise.withResolvers<Ports>();
  readonly #gaveUp = Promise.withResolvers<string>();
  readonly #stop = new AbortController();
  #stopped: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#ports = options.programs.map(() => undefined);
    this.#programs = options.programs.map((program, index) => this.#make(program, index));
  }

  /** Resolves with all ports when every program says that it is ready; never when one gives up before. */
  get ready(): Promise<Ports> {
    return this.#ready.promise;
  }

  /** Resolves with the reason when a program has ended for good. */
  get gaveUp(): Promise<string> {
    return this.#gaveUp.promise;
  }

  start(): void {
    this.#programs[0]!.start();
  }

  /** Stops the programs one after the other, the last one first. */
  stop(): Promise<void> {
    this.#stop.abort();
    this.#stopped ??= this.#stopInOrder();
    return this.#stopped;
  }

  /** Ends all programs at once. */
  kill(): void {
    this.#stop.abort();
    for (const program of this.#programs) program.kill();
  }

  async #stopInOrder(): Promise<void> {
    for (const [index, program] of [...this.#programs.entries()].reverse()) {
      await program.stop(this.#options.programs[index]!.graceMs);
    }
  }

  #make(program: SupervisedProgram, index: number): Program {
    const { onLine, onNotice, restart = defaultRestart } = this.#options;
    return new Program({
      name: program.name,
      restart,
      command: (own) => program.command({ own, others: this.#known(index) }),
      onLine: (line) => onLine(program.name, line),
      onNotice: (notice) => onNotice(program.name, notice),
      onReady: (ports) => void this.#onListening(index, ports),
      onGiveUp: (why) => this.#gaveUp.resolve(`${program.name} ${why}`),
    });
  }

  #known(before: number): Ports {
    return Object.assign({}, ...this.#ports.slice(0, before));
  }

  async #onListening(index: number, ports: Ports): Promise<void> {
    const restarted = this.#ports[index] !== undefined;
    this.#ports[index] = ports;
    if (!restarted) this.#programs[index + 1]?.start();
    const { readyUrl, name } = this.#options.programs[index]!;
    const ready = await untilReady(readyUrl(ports), {
      signal: this.#stop.signal,
      onSlow: (answer) => this.#options.onNotice(name, `is not ready yet: ${answer}`),
    });
    if (restarted && ready) this.#options.onNotice(name, 'is ready again');
    else if (ready) this.#settle(index);
  }

  #settle(index: number): void {
    this.#readyIndexes.add(index);
    if (this.#readyIndexes.size === this.#programs.length)
      this.#ready.resolve(this.#known(this.#programs.length));
  }
}

/** Polls until the answer is 200. @returns false when the signal ended the wait */
async function untilReady(
  url: string,
  { signal, onSlow }: { signal: AbortSignal; onSlow: (answer: string) => void },
): Promise<boolean> {
  let answer = 'no answer';
  const slow = setInterval(() => onSlow(`${url} says ${answer}`), SLOW_MS);
  try {
    while (!signal.aborted) {
      const attempt = AbortSignal.any([signal, AbortSignal.timeout(2_000)]);
      const response = await fetch(url, { signal: attempt }).catch(() => undefined);
      answer = (await response?.text().catch(() => undefined)) ?? 'no answer';
      if (response?.status === 200) return true;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return false;
  } finally {
    clearInterval(slow);
  }
}
