/**
 * npm passes Ctrl-C on although the terminal has sent it to every process already: what follows the first signal
 * this closely is the same key press.
 */
const SAME_PRESS_MS = 300;

/** Calls `first` on the first signal and `again` on each later one. Node's default of ending at once is off. */
export function onStopSignals(
  signals: readonly NodeJS.Signals[],
  handlers: { first: (signal: NodeJS.Signals) => void; again: (signal: NodeJS.Signals) => void },
): void {
  let firstMs: number | undefined;
  const handle = (signal: NodeJS.Signals) => {
    if (firstMs === undefined) {
      firstMs = performance.now();
      handlers.first(signal);
    } else if (performance.now() - firstMs > SAME_PRESS_MS) handlers.again(signal);
  };
  for (const signal of signals) process.on(signal, handle);
}
