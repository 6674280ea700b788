/** Time for a load; tests have their own. */
export interface LoadClock {
  nowMs(): number;
  /** Calls back once, after at least that long. The returned function takes it back. */
  after(delayMs: number, call: () => void): () => void;
  /** CPU that this process has used, in microseconds. */
  cpuUs(): number;
}

/** The machine's own time. */
export const machineClock: LoadClock = {
  nowMs: () => performance.now(),
  after: (delayMs, call) => {
    const timer = setTimeout(call, delayMs);
    return () => clearTimeout(timer);
  },
  cpuUs: () => {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
};
