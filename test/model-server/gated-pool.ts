import type { Batch, BatchResult, Executor, ExecutorPool, TokenBatch } from '../../model-server/types.ts';

/** One batch that a test holds until it says how it ends. */
export interface HeldBatch {
  batch: TokenBatch;
  /** Ids of each row without padding, read back from the assembled buffer. */
  rows: number[][];
  succeed(): void;
  fail(error: Error): void;
}

/** A pool whose instances run a batch until the test ends it. Each output is [first id, sum of ids] of its row. */
export class GatedPool implements ExecutorPool {
  readonly held: HeldBatch[] = [];
  failure: Error | undefined;
  #free: number;
  #listeners: (() => void)[] = [];

  constructor(instances: number) {
    this.#free = instances;
  }

  get free(): number {
    return this.#free;
  }

  take(): Executor | undefined {
    return this.#free > 0 ? { run: (batch) => this.#run(batch) } : undefined;
  }

  /** What `prefetch` gives; a test sets it to see a batch handed over ahead of time. */
  prefetchable = false;

  prefetch(): Executor | undefined {
    if (!this.prefetchable) return undefined;
    this.prefetchable = false;
    return { run: (batch) => this.#run(batch) };
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** As when the last instance is given up. */
  failForGood(error: Error): void {
    this.failure = error;
    for (const listener of this.#listeners) listener();
  }

  #run(batch: Batch): Promise<BatchResult> {
    if (batch.kind !== 'tokens') throw new Error('texts only');
    this.#free--;
    const rows = readRows(batch);
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        this.held.splice(this.held.indexOf(held), 1);
        this.#free++;
        settle();
      };
      const outputs = rows.map((ids) =>
        Float32Array.of(
          ids[0]!,
          ids.reduce((sum, id) => sum + id, 0),
        ),
      );
      const held: HeldBatch = {
        batch,
        rows,
        succeed: () => end(() => resolve({ outputs, tensors: [], computeUs: 10, postUs: 1 })),
        fail: (error) => end(() => reject(error)),
      };
      this.held.push(held);
    });
  }
}

function readRows({ tokens, rows, length, lengths }: TokenBatch): number[][] {
  const ids = new BigInt64Array(tokens, 0, rows * length);
  const mask = new BigInt64Array(tokens, rows * length * 8, rows * length);
  return Array.from({ length: rows }, (_, r) => {
    const used = Array.from(mask.subarray(r * length, (r + 1) * length)).filter((bit) => bit === 1n).length;
    if (used !== lengths[r])
      throw new Error(`row ${r}: the mask has ${used} tokens, lengths says ${lengths[r]}`);
    return Array.from(ids.subarray(r * length, r * length + used), Number);
  });
}
