import { ServingError } from '../../errors.ts';
import type { RawTensor } from '../../types.ts';
import type { WarmupSample } from '../repository/warmup-samples.ts';
import { sampleTensors } from './sample-tensors.ts';

/** A shape that a text model is run on. */
export interface Bucket {
  /** Tokens of each row. */
  length: number;
  rows: number;
}

/** How to run the model; each call must run on every instance, since each has a session of its own to warm. */
export interface WarmUpRun {
  /** For text models: a batch of `rows` texts of `length` tokens each. */
  runRow?: ((length: number, rows: number) => Promise<unknown>) | undefined;
  runTensors: (tensors: RawTensor[]) => Promise<unknown>;
}

export interface WarmUpOptions {
  /** Model and version, for messages. */
  owner: string;
  /** From the config; when there are any they take the place of the buckets. */
  samples: readonly WarmupSample[];
  /** The folder of the model, which holds warmup/ with the samples' files. */
  modelFolder: string;
  /** Whether tensors have a batch dimension in front of the dims of the config. */
  hasBatchDimension: boolean;
  /** Smallest first, as `bucketsOf` gives them; used only with `runRow`. */
  buckets: readonly Bucket[];
  /** Milliseconds of warming up after which no further bucket is begun. */
  capMs: number;
  nowMs: () => number;
  /** Stops the rest, when the version is unloaded. */
  signal?: AbortSignal | undefined;
  /** Whether users wait: they come first, and warm the model as well. */
  shouldYield?: (() => boolean) | undefined;
}

/** How far the warm-up came. */
export interface WarmUpOutcome {
  buckets: number;
  of: number;
  stoppedBy: 'done' | 'cap' | 'abort' | 'traffic' | 'failure';
  /** Why a later bucket failed; else empty. */
  failure: string;
}

/** A model that may be called ready, and what is left of its warm-up. */
export interface WarmedUp {
  /** Runs the other buckets; never rejects. A second call is the first one. */
  goOn: () => Promise<WarmUpOutcome>;
}

/**
 * Runs a model before users do, because the first pass of a shape is slow and shows whether the model works at all.
 * Resolves when the model may be called ready: after all samples of its config or, without any, after the smallest
 * bucket. The other buckets wait for `goOn`, so that nothing runs behind whoever checks the model first.
 *
 * @throws ServingError MODEL_LOAD_FAILED when a sample or the smallest bucket fails
 */
export async function warmUp(run: WarmUpRun, options: WarmUpOptions): Promise<WarmedUp> {
  const { owner, samples, nowMs } = options;
  const startMs = nowMs();
  for (const sample of samples) {
    await failLoad(`${owner}: model_warmup sample ${JSON.stringify(sample.name)} failed`, async () => {
      const tensors = sampleTensors(sample, options);
      for (let i = 0; i < Math.max(1, sample.count); i++) await run.runTensors(tensors.map(copy));
    });
  }
  const { runRow } = run;
  const [first, ...later] = runRow === undefined || samples.length > 0 ? [] : options.buckets;
  if (runRow === undefined || first === undefined) {
    const nothing: WarmUpOutcome = { buckets: 0, of: 0, stoppedBy: 'done', failure: '' };
    return { goOn: () => Promise.resolve(nothing) };
  }
  await failLoad(`${owner} failed its first pass`, () => runRow(first.length, first.rows));
  const spentMs = nowMs() - startMs;
  let rest: Promise<WarmUpOutcome> | undefined;
  return {
    goOn() {
      rest ??= runLater(runRow, later, { ...options, untilMs: nowMs() + options.capMs - spentMs });
      return rest;
    },
  };
}

type LaterOptions = WarmUpOptions & { untilMs: number };

async function runLater(
  runRow: NonNullable<WarmUpRun['runRow']>,
  later: readonly Bucket[],
  options: LaterOptions,
): Promise<WarmUpOutcome> {
  const outcome = { buckets: 1, of: later.length + 1, failure: '' };
  for (const { length, rows } of later) {
    const stoppedBy = whyStop(options);
    if (stoppedBy !== undefined) return { ...outcome, stoppedBy };
    try {
      await runRow(length, rows);
    } catch (thrown) {
      // An unload fails what runs; that is no fault of the model.
      if (options.signal?.aborted) return { ...outcome, stoppedBy: 'abort' };
      const failure = `${rows} x ${length} tokens: ${messageOf(thrown)}`;
      return { ...outcome, stoppedBy: 'failure', failure };
    }
    outcome.buckets++;
  }
  return { ...outcome, stoppedBy: 'done' };
}

function whyStop(options: LaterOptions): WarmUpOutcome['stoppedBy'] | undefined {
  if (options.signal?.aborted) return 'abort';
  if (options.shouldYield?.()) return 'traffic';
  return options.nowMs() >= options.untilMs ? 'cap' : undefined;
}

const SHORTEST = 8;

/**
 * The shapes that stand for all others: lengths in powers of two up to the longest text, each alone and in the largest
 * batch that the limits allow; the cheapest first.
 */
export function bucketsOf(limits: {
  maxTokens: number;
  maxBatchTokens: number;
  maxBatchItems: number;
}): Bucket[] {
  const { maxTokens, maxBatchTokens, maxBatchItems } = limits;
  const buckets: Bucket[] = [];
  const add = (length: number) => {
    buckets.push({ length, rows: 1 });
    const rows = Math.min(maxBatchItems, Math.floor(maxBatchTokens / length));
    if (rows > 1) buckets.push({ length, rows });
  };
  for (let length = SHORTEST; length < maxTokens; length *= 2) add(length);
  add(maxTokens);
  return buckets.sort((a, b) => a.length * a.rows - b.length * b.rows || a.length - b.length);
}

/** Tensors may be transferred to a worker, which leaves nothing for the next run. */
function copy(tensor: RawTensor): RawTensor {
  return { ...tensor, data: tensor.data.slice() };
}

async function failLoad(what: string, run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
  } catch (cause) {
    throw new ServingError('MODEL_LOAD_FAILED', `${what}: ${messageOf(cause)}`, { cause });
  }
}

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
