/** Time, as the scheduler needs it; tests drive it by hand. */
export interface Clock {
  /** Microseconds from an arbitrary start, never going back. */
  nowUs(): number;
  /** Runs a task after the I/O that is already waiting, so that a burst of requests is seen as one. */
  defer(task: () => void): void;
  /** Runs a task later; the returned function cancels it. */
  after(delayUs: number, task: () => void): () => void;
}

export const systemClock: Clock = {
  nowUs: () => performance.now() * 1000,
  defer: (task) => void setImmediate(task),
  after(delayUs, task) {
    const timer = setTimeout(task, delayUs / 1000);
    return () => clearTimeout(timer);
  },
};
