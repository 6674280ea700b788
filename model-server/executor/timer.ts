/** Runs a task later; the returned function cancels it. Tests put their own in its place. */
export type After = (delayMs: number, task: () => void) => () => void;

export const systemAfter: After = (delayMs, task) => {
  const timer = setTimeout(task, delayMs);
  return () => clearTimeout(timer);
};
