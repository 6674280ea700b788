import { Worker } from 'node:worker_threads';
import type { LimitDone, LimitReady, LimitWork } from './limit-messages.ts';
import type { Random } from './random.ts';

/** The source runs as .ts; a build makes .js of it. */
const workerUrl = new URL(
  import.meta.url.endsWith('.ts') ? './limit-worker.ts' : './limit-worker.js',
  import.meta.url,
);

/** How the machine's cores are used. */
export interface LimitLayout {
  workers: number;
  threads: number;
  batch: number;
}

/** What the runtime did in one stretch. */
export interface LimitRate {
  textsPerSecond: number;
  tokensPerSecond: number;
  /** CPU that it used, in microseconds for each token. */
  cpuUsPerToken: number;
  /** Time of the middle batch, in milliseconds. */
  medianMs: number;
}

export interface LimitOptions {
  modelFile: string;
  /** Token ids of each text. */
  rows: readonly (readonly number[])[];
  random: Random;
}

/** The layouts of which the fastest is the limit of throughput. */
export function throughputLayouts(cores: number): LimitLayout[] {
  const spread = [32, 8, 1].map((batch) => ({ workers: cores, threads: 1, batch }));
  return cores === 1 ? spread : [...spread, { workers: 1, threads: cores, batch: 32 }];
}

/** The layouts of which the fastest is the limit of one lone request. */
export function latencyLayouts(cores: number): LimitLayout[] {
  const alone = [1, cores].map((threads) => ({ workers: 1, threads, batch: 1 }));
  return cores === 1 ? alone.slice(0, 1) : alone;
}

/** As a person writes it. */
export function layoutText({ workers, threads, batch }: LimitLayout): string {
  return `${workers} x ${threads} thread${threads === 1 ? '' : 's'}, batches of ${batch}`;
}

/** ONNX Runtime alone with ideal batches of a layout: what a server on this machine can reach at most. */
export class Limit implements AsyncDisposable {
  readonly layout: LimitLayout;
  readonly #workers: readonly Worker[];

  private constructor(layout: LimitLayout, workers: readonly Worker[]) {
    this.layout = layout;
    this.#workers = workers;
  }

  /** @throws Error when the runtime can't open the file, or the model needs inputs that only the server knows. */
  static async open(layout: LimitLayout, { modelFile, rows, random }: LimitOptions): Promise<Limit> {
    const batches = shuffled(idealBatches(rows, layout.batch), random);
    const workers = Array.from({ length: layout.workers }, (_, index) => {
      // Few texts make fewer batches than workers; then all do the same ones.
      const own =
        batches.length < layout.workers
          ? batches
          : batches.filter((_batch, at) => at % layout.workers === index);
      const workerData: LimitWork = { modelFile, threads: layout.threads, batches: own };
      return new Worker(workerUrl, { workerData });
    });
    const limit = new Limit(layout, workers);
    try {
      await Promise.all(workers.map((worker) => nextMessage<LimitReady>(worker)));
      return limit;
    } catch (error) {
      await limit[Symbol.asyncDispose]();
      throw error;
    }
  }

  async run(durationMs: number): Promise<LimitRate> {
    const answers = this.#workers.map((worker) => nextMessage<LimitDone>(worker));
    const cpuFrom = process.cpuUsage();
    for (const worker of this.#workers) worker.postMessage({ durationMs });
    const done = await Promise.all(answers);
    const { user, system } = process.cpuUsage(cpuFrom);
    const rate = (of: (each: LimitDone) => number) =>
      done.reduce((sum, each) => sum + (of(each) / each.elapsedMs) * 1000, 0);
    return {
      textsPerSecond: rate(({ texts }) => texts),
      tokensPerSecond: rate(({ tokens }) => tokens),
      cpuUsPerToken: (user + system) / done.reduce((sum, { tokens }) => sum + tokens, 0),
      medianMs: Math.min(...done.map(({ medianMs }) => medianMs)),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

export interface TrialOptions {
  trialMs: number;
  better: (a: LimitRate, b: LimitRate) => boolean;
  signal?: AbortSignal;
}

/**
 * Opens each layout, runs it for a moment, and keeps the one that is best by `better`.
 * @throws Error what `Limit.open` throws, or the signal's reason
 */
export async function bestLimit(
  layouts: readonly LimitLayout[],
  options: LimitOptions,
  { trialMs, better, signal }: TrialOptions,
): Promise<Limit> {
  let best: { limit: Limit; rate: LimitRate } | undefined;
  for (const layout of layouts) {
    if (signal?.aborted) await best?.limit[Symbol.asyncDispose]();
    signal?.throwIfAborted();
    const limit = await Limit.open(layout, options);
    const rate = await limit.run(trialMs);
    const isBest = best === undefined || better(rate, best.rate);
    if (isBest) await best?.limit[Symbol.asyncDispose]();
    else await limit[Symbol.asyncDispose]();
    if (isBest) best = { limit, rate };
  }
  return best!.limit;
}

/** Batches of texts that are as equal in length as can be; what is over at the end is left out. */
export function idealBatches<Row extends { length: number }>(rows: readonly Row[], size: number): Row[][] {
  const sorted = rows.toSorted((a, b) => a.length - b.length);
  const count = Math.max(1, Math.floor(sorted.length / size));
  return Array.from({ length: count }, (_, at) => sorted.slice(at * size, (at + 1) * size));
}

/** In any order, so that a stretch that is shorter than all batches sees all lengths. */
function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  return items
    .map((item) => ({ item, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

function nextMessage<T>(worker: Worker): Promise<T> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      worker.off('message', onMessage).off('error', onError);
      act();
    };
    const onMessage = (message: T) => settle(() => resolve(message));
    const onError = (error: Error) => settle(() => reject(error));
    worker.on('message', onMessage).on('error', onError);
  });
}
