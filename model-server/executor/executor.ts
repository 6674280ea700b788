import { ServingError } from '../errors.ts';
import type { BackendInfo, Batch, BatchResult, Executor, InstanceState } from '../types.ts';
import { batchLimitMs, loadLimitMs } from './batch-limit.ts';
import { buffersOf, resultOf } from './batch-message.ts';
import { type Canary, canaryBatch, canaryFault } from './canary.ts';
import type { Channel } from './channel.ts';
import { type InstancePlan, workerOptionsOf } from './devices.ts';
import type { WorkerExecutorOptions } from './executor-options.ts';
import { openChannel } from './open-channel.ts';
import type { FromWorker } from './protocol.ts';
import { ProvenFiles } from './proven-files.ts';
import { workerUrl } from './worker-url.ts';

/** Of the whole process: a model that is loaded again has the same file. */
const provenFiles = new ProvenFiles();

/** Failed batches in a row after which an instance on a CPU has to prove itself; on a GPU it is one. */
const SUSPECT_AFTER_FAILURES = 3;
/** Longest wait for a thread to release its session, and again for one that was ended: in native code it can't be. */
const GRACE_MS = 5000;

/** A batch at the worker, and how long it may take. */
type Running = PromiseWithResolvers<BatchResult> & { limitMs: number };

/**
 * One worker that holds one loaded instance and runs one batch at a time. A second batch may be handed over while the
 * first runs, so that the worker goes on without waiting for the server's thread.
 */
export class WorkerExecutor implements Executor {
  readonly #options: WorkerExecutorOptions;
  readonly #channel: Channel;
  readonly #opened = Promise.withResolvers<BackendInfo>();
  readonly #gone = Promise.withResolvers<void>();
  /** Batches at the worker, in the order of their results. */
  readonly #running: Running[] = [];
  #startedMs = 0;
  #state: InstanceState['state'] = 'starting';
  #executionProvider = '';
  #note: string;
  #residentBytes: number | undefined;
  #failuresInRow = 0;
  #proofs = 0;
  #disarm: (() => void) | undefined;
  #isClosing = false;
  #isKilled = false;

  constructor(options: WorkerExecutorOptions) {
    this.#options = options;
    this.#note = options.plan.note;
    this.#channel = openChannel(options.isolation, {
      program: options.worker ?? workerUrl,
      env: options.env,
      onMessage: (message) => this.#onMessage(message),
      onDeath: (why) => this.#die('crashed', why),
    });
    this.#channel.ended.then(this.#gone.resolve);
    this.#channel.post({
      type: 'open',
      options: { ...options.session, ...workerOptionsOf(options.plan) },
      provenFiles: provenFiles.marks,
    });
    // Loads take their turn, so one without an end would keep every other model from being loaded.
    const limitMs = loadLimitMs(options.watchdogMs);
    this.#arm(limitMs, `it was still loading after ${limitMs} ms; a longer --watchdog-ms gives it more`);
  }

  /** Resolves when the model is loaded and the instance takes work. @throws ServingError MODEL_LOAD_FAILED */
  get opened(): Promise<BackendInfo> {
    return this.#opened.promise;
  }

  get state(): InstanceState {
    const { plan, session, isolation } = this.#options;
    return {
      device: this.#executionProvider === 'cpu' ? 'cpu' : plan.device,
      executionProvider: this.#executionProvider,
      threads: plan.threads ?? session.intraOpThreads,
      state: this.#state,
      isolation,
      note: this.#note,
    };
  }

  get plan(): InstancePlan {
    return this.#options.plan;
  }

  get isLone(): boolean {
    return this.plan.isLone ?? false;
  }

  get idle(): boolean {
    return this.#state === 'idle';
  }

  /** Whether it works on what it was given. */
  get busy(): boolean {
    return this.#state === 'busy';
  }

  /** Batches that are at the worker. */
  get batches(): number {
    return this.#running.length;
  }

  /** When the running batch was started, in milliseconds on the process's clock. */
  get startedMs(): number {
    return this.#startedMs;
  }

  /** Whether it works on a known batch, and may turn out to be of no use. */
  get proving(): boolean {
    return this.#proofs > 0;
  }

  /** Resident memory of the instance's own process, as of its last answer; undefined for a thread, or when it is dead. */
  get residentBytes(): number | undefined {
    return this.#isDead() ? undefined : this.#residentBytes;
  }

  run(batch: Batch, expectedUs?: number): Promise<BatchResult> {
    if (this.#state === 'idle' || this.#state === 'busy') return this.#post(batch, expectedUs);
    return Promise.reject(
      new ServingError('EXECUTOR_CRASHED', `${this.#options.owner} is ${this.#state}. Try again.`),
    );
  }

  /** Releases the session and ends the worker. What runs is finished first, within the time that a batch may take. */
  close(): Promise<void> {
    if (this.#isClosing || this.#isKilled) return this.#gone.promise;
    this.#isClosing = true;
    if (this.#isDead()) {
      this.#kill();
      return this.#gone.promise;
    }
    this.#channel.post({ type: 'close' });
    if (this.#running.length === 0) this.#arm();
    return this.#gone.promise;
  }

  /**
   * Fails what runs at once and ends the worker. A thread is asked first, since a session that is not released keeps its
   * memory; a process gives it back in any case.
   */
  destroy(): Promise<void> {
    const wasDead = this.#isDead();
    this.#isClosing = true;
    this.#die('closed', 'it was ended');
    if (wasDead || this.#options.isolation === 'process') this.#kill();
    else {
      this.#channel.post({ type: 'close' });
      const cancel = this.#options.after(GRACE_MS, () => this.#kill());
      this.#gone.promise.then(cancel);
    }
    return this.#gone.promise;
  }

  #post(batch: Batch, expectedUs?: number): Promise<BatchResult> {
    // First, because it throws what can't be sent; answers come back in the order of what has been sent.
    this.#channel.post({ type: 'run', batch }, buffersOf(batch));
    if (this.#state === 'idle') this.#state = 'busy';
    const limitMs = batchLimitMs(this.#options.watchdogMs, expectedUs);
    const running = { ...Promise.withResolvers<BatchResult>(), limitMs };
    this.#running.push(running);
    if (this.#running.length === 1) this.#arm();
    return running.promise;
  }

  #onMessage(message: FromWorker): void {
    if (this.#isDead()) return;
    switch (message.type) {
      case 'ready':
        this.#onReady(message);
        return;
      case 'loadFailed':
        this.#failLoad(
          [`${this.#options.session.modelFile} can't be opened: ${message.message}`, this.plan.inventory]
            .filter((part) => part !== '')
            .join('; '),
        );
        return;
      case 'result':
        this.#residentBytes = message.residentBytes;
        this.#failuresInRow = 0;
        this.#finish()?.resolve(resultOf(message));
        this.#rest();
        return;
      case 'batchFailed':
        this.#onFailedBatch(message.message);
    }
  }

  #onReady({ info, note, residentBytes, provenFile }: Extract<FromWorker, { type: 'ready' }>): void {
    this.#disarm?.();
    this.#executionProvider = info.executionProvider;
    this.#note = [this.#note, note].filter((part) => part !== '').join('; ');
    this.#residentBytes = residentBytes;
    provenFiles.add(provenFile);
    const ready = () => {
      this.#state = 'idle';
      this.#opened.resolve(info);
    };
    const canary = this.#options.canary();
    if (canary === undefined) ready();
    else void this.#prove(canary).then((isSound) => isSound && ready());
  }

  #onFailedBatch(why: string): void {
    const error = new ServingError('BATCH_FAILED', `${this.#options.owner}: the batch failed: ${why}`);
    this.#finish()?.reject(error);
    this.#failuresInRow++;
    const isSuspect = this.#executionProvider !== 'cpu' || this.#failuresInRow >= SUSPECT_AFTER_FAILURES;
    const canary = isSuspect && !this.#isClosing ? this.#options.canary() : undefined;
    // Posted before the instance can be seen as idle, so no other batch gets in between.
    if (canary !== undefined && this.#state === 'busy') void this.#prove(canary);
    else this.#rest();
  }

  /** Runs the known batch; an instance that does not pass is ended. @returns whether it passed */
  async #prove(canary: Canary): Promise<boolean> {
    this.#proofs++;
    try {
      const fault = canaryFault(canary, await this.#post(canaryBatch(canary)));
      if (fault === undefined) {
        this.#options.onProven();
        return true;
      }
      this.#endUnhealthy(`its canary batch came back wrong: ${fault}`);
    } catch (error) {
      this.#endUnhealthy(`its canary batch failed: ${(error as Error).message}`);
    } finally {
      this.#proofs--;
    }
    return false;
  }

  /** The oldest batch at the worker, which has just come back. */
  #finish(): Running | undefined {
    this.#disarm?.();
    this.#disarm = undefined;
    const running = this.#running.shift();
    if (this.#running.length > 0 || this.#isClosing) this.#arm();
    return running;
  }

  #rest(): void {
    if (this.#state === 'busy' && this.#running.length === 0) this.#state = 'idle';
  }

  #arm(
    limitMs = this.#running[0]?.limitMs ?? this.#options.watchdogMs,
    why = `it gave no sign of life for ${limitMs} ms`,
  ): void {
    this.#startedMs = performance.now();
    this.#disarm?.();
    if (limitMs > 0) this.#disarm = this.#options.after(limitMs, () => this.#endUnhealthy(why));
  }

  #endUnhealthy(why: string): void {
    if (this.#isDead()) return;
    this.#die('unhealthy', why);
    this.#kill();
  }

  #failLoad(why: string, advice: { retryAfterMs?: number } = {}): void {
    this.#disarm?.();
    this.#state = 'crashed';
    this.#opened.promise.catch(() => undefined);
    this.#opened.reject(new ServingError('MODEL_LOAD_FAILED', `${this.#options.owner}: ${why}`, advice));
  }

  #kill(): void {
    if (this.#isKilled) return;
    this.#isKilled = true;
    this.#channel.kill();
    const cancel = this.#options.after(GRACE_MS, this.#gone.resolve);
    this.#gone.promise.then(cancel);
  }

  #isDead(): boolean {
    return this.#state === 'closed' || this.#state === 'crashed' || this.#state === 'unhealthy';
  }

  #die(how: 'crashed' | 'unhealthy' | 'closed', why: string): void {
    if (this.#isDead()) return;
    this.#disarm?.();
    this.#note = why;
    const wasReady = this.#state !== 'starting';
    if (wasReady) this.#state = this.#isClosing ? 'closed' : how;
    else this.#failLoad(`it died while it loaded: ${why}`, { retryAfterMs: 1000 });
    const error = new ServingError('EXECUTOR_CRASHED', `${this.#options.owner} died: ${why}. Try again.`, {
      retryAfterMs: 1000,
    });
    for (const running of this.#running.splice(0)) running.reject(error);
    if (wasReady && !this.#isClosing) this.#options.onCrash(why);
  }
}
