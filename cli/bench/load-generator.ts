import { type ChildProcess, fork } from 'node:child_process';
import { CommandFailure } from '../exit-codes.ts';
import type { FromLoad, ToLoad } from './load-messages.ts';
import type { LoadResult, LoadTarget, RunPlan } from './load-plan.ts';

/** The source runs as .ts; a build makes .js of it. */
const processUrl = new URL(
  import.meta.url.endsWith('.ts') ? './load-process.ts' : './load-process.js',
  import.meta.url,
);

/** A load in a process of its own, connected to one server. */
export class LoadGenerator implements Disposable {
  readonly #child: ChildProcess;
  readonly #name: string;

  private constructor(child: ChildProcess, name: string) {
    this.#child = child;
    this.#name = name;
  }

  /**
   * Starts the process, connects it and encodes the requests.
   * @param name of the server, for messages
   * @throws CommandFailure when nobody answers there
   */
  static async open(target: LoadTarget, name: string): Promise<LoadGenerator> {
    const child = fork(processUrl, {
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const generator = new LoadGenerator(child, name);
    try {
      await generator.#ask({ kind: 'open', target });
      return generator;
    } catch (error) {
      generator[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Runs one stretch of load.
   * @throws CommandFailure when its process ended
   */
  async run(plan: RunPlan): Promise<LoadResult> {
    const answer = await this.#ask({ kind: 'run', plan });
    if (answer.kind !== 'result') throw new CommandFailure(`the load of ${this.#name} gave no result.`);
    return answer.result;
  }

  /** Ends the stretch that runs; `run` then tells what was measured. */
  stop(): void {
    if (this.#child.connected) this.#child.send({ kind: 'stop' } satisfies ToLoad);
  }

  [Symbol.dispose](): void {
    if (this.#child.connected) this.#child.disconnect();
  }

  #ask(message: ToLoad): Promise<FromLoad> {
    return new Promise((resolve, reject) => {
      const onMessage = (answer: FromLoad) => {
        this.#child.off('exit', onExit);
        if (answer.kind === 'failed') reject(this.#unreachable(answer));
        else resolve(answer);
      };
      const onExit = (code: number | null) => {
        this.#child.off('message', onMessage);
        reject(new CommandFailure(`the process that makes the load of ${this.#name} ended with ${code}.`));
      };
      this.#child.once('message', onMessage).once('exit', onExit);
      this.#child.send(message);
    });
  }

  #unreachable({ message, code }: { message: string; code: string }): CommandFailure {
    const why = code === 'ECONNREFUSED' ? 'nothing listens there' : message;
    return new CommandFailure(`no load can be sent to ${this.#name}: ${why}.`);
  }
}
