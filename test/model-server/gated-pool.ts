import type {
  Batch,
  BatchResult,
  Executor,
  ExecutorPool,
  RawTensor,
  TensorBatch,
  TokenBatch,
} from '../../model-server/types.ts';
import { fp32, values } from './raw-tensors.ts';

/** One batch that a test holds until it says how it ends. */
export interface HeldBatch {
  batch: Batch;
  /** Texts: ids of each row, read back from the assembled buffer. Raw tensors: values of each row of the first input. */
  rows: number[][];
  succeed(): void;
  fail(error: Error): void;
}

/**
 * A pool whose instances run a batch until the test ends it. For a text the output is [first id, sum of ids] of its row,
 * for raw tensors twice the values of the first input, under each name that is asked for.
 */
export class GatedPool implements ExecutorPool {
  readonly held: HeldBatch[] = [];
  failure: Error | undefined;
  /** Gives raw tensors as one row, as a model would whose output has no batch dimension. */
  flattens = false;
  /** What the instance says that a batch took. */
  computeUs: (rows: number[][]) => number = () => 10;
  #free: number;
  #listeners: (() => void)[] = [];

  constructor(instances: number) {
    this.#free = instances;
  }

  get free(): number {
    return this.#free;
  }

  /** What a lone text must have to be told as such. */
  loneTokens = 0;
  /** Whether its instances call themselves the one for lone requests. */
  isLone = false;

  take(_isAlone?: boolean): Executor | undefined {
    return this.#free > 0 ? { isLone: this.isLone, run: (batch) => this.#run(batch) } : undefined;
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
    this.#free--;
    const rows = batch.kind === 'tokens' ? readRows(batch) : readTensorRows(batch);
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        this.held.splice(this.held.indexOf(held), 1);
        this.#free++;
        settle();
      };
      const held: HeldBatch = {
        batch,
        rows,
        succeed: () =>
          end(() => resolve({ ...this.#answer(batch, rows), computeUs: this.computeUs(rows), postUs: 1 })),
        fail: (error) => end(() => reject(error)),
      };
      this.held.push(held);
    });
  }

  #answer(batch: Batch, rows: number[][]): Pick<BatchResult, 'outputs' | 'tensors'> {
    if (batch.kind === 'tensors') return { outputs: [], tensors: this.#doubled(batch, rows) };
    const sum = (ids: number[]) => ids.reduce((total, id) => total + id, 0);
    return { outputs: rows.map((ids) => Float32Array.of(ids[0]!, sum(ids))), tensors: [] };
  }

  #doubled({ inputs, outputs }: TensorBatch, rows: number[][]): RawTensor[] {
    const { shape } = inputs[0]!;
    const doubled = rows.flat().map((value) => value * 2);
    return outputs.map((name) => fp32(name, this.flattens ? [doubled.length + 1000] : shape, doubled));
  }
}

function readRows({ tokens, rows, lengths }: TokenBatch): number[][] {
  const ids = new Int32Array(tokens);
  if (lengths.length !== rows) throw new Error(`${rows} rows, but ${lengths.length} lengths`);
  let at = 0;
  const read = Array.from(lengths, (length) => {
    const from = at;
    at += length;
    return Array.from(ids.subarray(from, at));
  });
  if (ids.length !== at && ids.length !== at * 2)
    throw new Error(`${ids.length} words for ${at} tokens; there are ids, or ids and type ids`);
  return read;
}

function readTensorRows({ inputs, rows }: TensorBatch): number[][] {
  const [first] = inputs;
  if (first!.shape[0] !== rows) throw new Error(`${rows} rows, but shape [${first!.shape.join(', ')}]`);
  const all = values(first!);
  const width = all.length / rows;
  return Array.from({ length: rows }, (_, row) => all.slice(row * width, (row + 1) * width));
}
