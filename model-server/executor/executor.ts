import { Worker } from 'node:worker_threads';
import { ServingError } from '../errors.ts';
import type { BackendInfo, Batch, BatchResult, Executor, InstanceState } from '../types.ts';
import type { FromWorker, ToWorker, WorkerOptions } from './protocol.ts';

/** The source runs as .ts; a build makes .js of it. */
export const workerUrl = new URL(
  import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js',
  import.meta.url,
);

export interface WorkerExecutorOptions extends WorkerOptions {
  /** Model, version and instance, for messages. */
  owner: string;
  /** The program of the thread; tests put their own here. */
  worker?: URL | undefined;
  /** Called when a worker that was ready has died; its batch has been failed already. */
  onCrash: (executor: WorkerExecutor) => void;
}

/**
 * One worker thread that holds one loaded instance and runs one batch at a time. A second batch may be handed over while
 * the first runs, so that the thread goes on without waiting for the server's thread.
 */
export class WorkerExecutor implements Executor {
  readonly #options: WorkerExecutorOptions;
  readonly #worker: Worker;
  readonly #opened = Promise.withResolvers<BackendInfo>();
  /** Batches at the worker, in the order of their results. */
  readonly #running: PromiseWithResolvers<BatchResult>[] = [];
  #startedMs = 0;
  #state: InstanceState['state'] = 'starting';
  #info: BackendInfo | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: WorkerExecutorOptions) {
    this.#options = options;
    const { modelFile, intraOpThreads, pooling, normalize } = options;
    const workerData: WorkerOptions = { modelFile, intraOpThreads, pooling, normalize };
    this.#worker = new Worker(options.worker ?? workerUrl, { workerData });
    this.#worker.on('message', (message: FromWorker) => this.#onMessage(message));
    this.#worker.on('error', (error) => this.#onDeath(error.message));
    this.#worker.on('exit', (code) => this.#onDeath(`its thread ended with code ${code}`));
  }

  /** Resolves when the model is loaded. @throws ServingError MODEL_LOAD_FAILED */
  get opened(): Promise<BackendInfo> {
    return this.#opened.promise;
  }

  get state(): InstanceState {
    return {
      device: 'cpu',
      executionProvider: this.#info?.executionProvider ?? '',
      threads: this.#options.intraOpThreads,
      state: this.#state,
    };
  }

  get idle(): boolean {
    return this.#state === 'idle';
  }

  /** Batches that are at the worker. */
  get batches(): number {
    return this.#running.length;
  }

  /** When the running batch was started, in milliseconds on the process's clock. */
  get startedMs(): number {
    return this.#startedMs;
  }

  run(batch: Batch): Promise<BatchResult> {
    if (this.#state !== 'idle' && this.#state !== 'busy') {
      const error = new ServingError(
        'EXECUTOR_CRASHED',
        `${this.#options.owner} is ${this.#state}. Try again.`,
      );
      return Promise.reject(error);
    }
    this.#state = 'busy';
    if (this.#running.length === 0) this.#startedMs = performance.now();
    const running = Promise.withResolvers<BatchResult>();
    this.#running.push(running);
    const message: ToWorker = { type: 'run', batch };
    this.#worker.postMessage(message, [batch.tokens]);
    return running.promise;
  }

  /** Releases the session and ends the thread. A batch that runs is finished first. */
  close(): Promise<void> {
    this.#closing ??= this.#end(() => this.#worker.postMessage({ type: 'close' } satisfies ToWorker));
    return this.#closing;
  }

  /** Ends the thread at once; a batch that runs fails. */
  destroy(): Promise<void> {
    this.#closing = this.#end(() => void this.#worker.terminate());
    return this.#closing;
  }

  async #end(ask: () => void): Promise<void> {
    if (this.#state === 'crashed' || this.#worker.threadId === -1) return;
    const ended = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()));
    ask();
    await ended;
  }

  #onMessage(message: FromWorker): void {
    switch (message.type) {
      case 'ready':
        this.#info = message.info;
        this.#state = 'idle';
        this.#opened.resolve(message.info);
        return;
      case 'loadFailed':
        this.#state = 'crashed';
        this.#opened.reject(
          new ServingError(
            'MODEL_LOAD_FAILED',
            `${this.#options.owner}: ${this.#options.modelFile} can't be opened: ${message.message}`,
          ),
        );
        return;
      case 'result':
        this.#finish((running) => running.resolve(unpack(message)));
        return;
      case 'batchFailed':
        this.#finish((running) =>
          running.reject(
            new ServingError('BATCH_FAILED', `${this.#options.owner}: the batch failed: ${message.message}`),
          ),
        );
    }
  }

  #finish(settle: (running: PromiseWithResolvers<BatchResult>) => void): void {
    const running = this.#running.shift();
    this.#startedMs = performance.now();
    if (this.#state === 'busy' && this.#running.length === 0) this.#state = 'idle';
    if (running !== undefined) settle(running);
  }

  #onDeath(why: string): void {
    if (this.#state === 'closed' || this.#state === 'crashed') return;
    const wasReady = this.#state !== 'starting';
    this.#state = this.#closing === undefined ? 'crashed' : 'closed';
    const error = new ServingError('EXECUTOR_CRASHED', `${this.#options.owner} died: ${why}. Try again.`, {
      retryAfterMs: 1000,
    });
    this.#opened.promise.catch(() => undefined);
    this.#opened.reject(
      new ServingError('MODEL_LOAD_FAILED', `${this.#options.owner} died while it loaded: ${why}`),
    );
    for (const running of this.#running.splice(0)) running.reject(error);
    if (wasReady && this.#state === 'crashed') this.#options.onCrash(this);
  }
}

function unpack(message: Extract<FromWorker, { type: 'result' }>): BatchResult {
  const values = new Float32Array(message.buffer);
  const outputs = message.ends.map((end, row) =>
    values.subarray(row === 0 ? 0 : message.ends[row - 1]!, end),
  );
  return { outputs, computeUs: message.computeUs, postUs: message.postUs };
}
