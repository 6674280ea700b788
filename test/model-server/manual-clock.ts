import type { Clock } from '../../model-server/scheduler/clock.ts';

/** A clock that moves only when a test moves it. */
export class ManualClock implements Clock {
  #nowUs = 0;
  #timers: { atUs: number; task: () => void }[] = [];
  #deferred: (() => void)[] = [];

  /** How many timers are set. */
  get timers(): number {
    return this.#timers.length;
  }

  nowUs(): number {
    return this.#nowUs;
  }

  defer(task: () => void): void {
    this.#deferred.push(task);
  }

  after(delayUs: number, task: () => void): () => void {
    const timer = { atUs: this.#nowUs + delayUs, task };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Runs what was deferred, as the event loop would after the waiting I/O. */
  tick(): void {
    for (const task of this.#deferred.splice(0)) task();
  }

  advance(byUs: number): void {
    this.#nowUs += byUs;
    const due = this.#timers.filter((timer) => timer.atUs <= this.#nowUs);
    this.#timers = this.#timers.filter((timer) => timer.atUs > this.#nowUs);
    for (const { task } of due) task();
    this.tick();
  }
}
