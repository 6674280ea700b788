/** What waits or has been done: tokens of texts and rows of raw tensors. */
export interface Work {
  tokens: number;
  tensorRows: number;
}

/** Running averages of what work costs, for retry-after. */
export class WaitEstimate {
  #usPerToken = 0;
  #usPerTensorRow = 0;

  learn(work: Work, elapsedUs: number): void {
    if (work.tokens > 0) this.#usPerToken = average(this.#usPerToken, elapsedUs / work.tokens);
    if (work.tensorRows > 0)
      this.#usPerTensorRow = average(this.#usPerTensorRow, elapsedUs / work.tensorRows);
  }

  /** How long this work takes from now, never below 1 ms; a second when nothing is known yet. */
  waitMs(work: Work, instances: number): number {
    if (this.#usPerToken === 0 && this.#usPerTensorRow === 0) return 1000;
    const us = work.tokens * this.#usPerToken + work.tensorRows * this.#usPerTensorRow;
    return Math.max(1, Math.ceil(us / Math.max(1, instances) / 1000));
  }
}

function average(old: number, next: number): number {
  return old === 0 ? next : old * 0.9 + next * 0.1;
}
