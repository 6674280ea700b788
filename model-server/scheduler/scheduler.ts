import { ServingError } from '../errors.ts';
import type { Executor, ExecutorPool, Reduction, TokenRow } from '../types.ts';
import { Admission } from './admission.ts';
import { type Company, chooseItems, companyOf, hasRoom } from './choose-items.ts';
import { CostModel } from './cost-model.ts';
import { DeadlineTimer } from './deadline-timer.ts';
import { Forecast } from './forecast.ts';
import {
  cancelTogether,
  type Item,
  type ItemOptions,
  type ItemResult,
  TensorItem,
  type TensorResult,
  TextItem,
} from './item.ts';
import { type Load, loadOf, tellObserver } from './load.ts';
import { BoundedQueue } from './queue.ts';
import type { SchedulerOptions, SubmitOptions } from './scheduler-options.ts';
import type { TensorCall } from './tensor-call.ts';

/** With so many inputs waiting a busy instance gets its next batch ahead of time; with fewer, more company is worth more. */
const PREFETCH_ITEMS = 8;
/** How many waiting inputs are sorted by length to form one batch. */
const WINDOW = 256;

/**
 * Turns single inputs into batches for one model version: waits until an instance is free, then forms the batch from
 * what waits. Batches therefore grow by themselves under load, and an idle server adds no delay.
 */
export class Scheduler {
  /** What batches cost; learns from each one. */
  readonly costs: CostModel;
  readonly #pool: ExecutorPool;
  readonly #options: SchedulerOptions;
  readonly #queue: BoundedQueue<Item>;
  /** Items of a failed batch, to be run alone so that a poison input hurts only itself. */
  readonly #retries: Item[] = [];
  readonly #forecast: Forecast;
  readonly #admission: Admission;
  readonly #deadlines: DeadlineTimer;
  readonly #enough: number;
  #running = 0;
  #pumpDeferred = false;
  #cancelDelay: (() => void) | undefined;
  #closed: ServingError | undefined;
  #destroyed = false;
  #onIdle: (() => void)[] = [];

  constructor(pool: ExecutorPool, options: SchedulerOptions) {
    this.#pool = pool;
    this.#options = options;
    this.costs = new CostModel({ packed: options.packed ?? false, overheadTokens: options.overheadTokens });
    this.#forecast = new Forecast(this.costs);
    this.#queue = new BoundedQueue(options.queue, options.owner);
    const { owner, clock } = options;
    const parts = { owner, clock, queue: this.#queue, forecast: this.#forecast };
    this.#admission = new Admission({
      ...parts,
      instances: () => this.#forecast.busyInstances + pool.free,
    });
    this.#deadlines = new DeadlineTimer(clock, () => this.#expireWaiting());
    this.#enough = Math.min(options.batch.maxItems, ...(options.preferredSizes ?? []));
    pool.onChange(() => this.#pump());
  }

  get queuedItems(): number {
    return this.#queue.size;
  }

  get queuedTokens(): number {
    return this.#queue.tokens;
  }

  /**
   * Refuses a call that would not fit or can't be done in time, before the work of tokenising it is done.
   * @throws ServingError QUEUE_FULL, DEADLINE_UNREACHABLE, MODEL_DRAINING, BACKEND_UNAVAILABLE
   */
  refuseEarly(inputs: number, options: SubmitOptions = {}): void {
    this.#refuseWhenDown();
    this.#admission.refuseFull({ items: inputs }, options);
    if (this.#keepsDeadlines) this.#admission.refuseUnreachable({ tokens: inputs, longest: 1 }, options);
  }

  /**
   * Queues the inputs of one call; they are admitted together or not at all.
   * @returns one promise per input, each settled exactly once
   * @throws ServingError QUEUE_FULL, DEADLINE_UNREACHABLE, MODEL_DRAINING, BACKEND_UNAVAILABLE
   */
  submit(
    inputs: readonly { row: TokenRow; reduction: Reduction }[],
    options: SubmitOptions = {},
  ): Promise<ItemResult>[] {
    let [tokens, longest] = [0, 0];
    for (const { row } of inputs) {
      tokens += row.ids.length;
      longest = Math.max(longest, row.ids.length);
    }
    this.#refuseWhenDown();
    this.#admission.refuseFull({ items: inputs.length, tokens }, options);
    const expectedUs =
      this.#keepsDeadlines && this.#admission.refuseUnreachable({ tokens, longest }, options);
    const shared = { ...this.#itemOptions(options), expectedUs: expectedUs || undefined };
    const items = inputs.map((input) => new TextItem(input, shared));
    this.#enqueue(items, options);
    return items.map((item) => item.promise);
  }

  /**
   * Queues the raw tensors of one call, as `checkTensors` gives it; equal calls are joined. They must not change meanwhile.
   * @throws ServingError QUEUE_FULL, MODEL_DRAINING, BACKEND_UNAVAILABLE
   */
  submitTensors(call: TensorCall, options: SubmitOptions = {}): Promise<TensorResult> {
    this.#refuseWhenDown();
    const item = new TensorItem(call, this.#itemOptions(options));
    this.#admission.refuseFull({ items: 1, bytes: item.bytes }, options);
    this.#enqueue([item], options);
    return item.promise;
  }

  /** Refuses new inputs, finishes what waits and runs. */
  async close(): Promise<void> {
    this.#closed ??= new ServingError('MODEL_DRAINING', `${this.#options.owner} is being unloaded.`);
    const idle = new Promise<void>((resolve) => this.#onIdle.push(resolve));
    this.#tellIdle();
    await idle;
  }

  /** Refuses new inputs, fails what waits, and fails what runs once its instance has been ended. */
  destroy(reason: ServingError): void {
    this.#closed = reason;
    this.#destroyed = true;
    for (const item of this.#waiting) item.settle(reason);
    this.#tellIdle();
  }

  #refuseWhenDown(): void {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#pool.failure !== undefined) throw ServingError.from(this.#pool.failure);
  }

  get #keepsDeadlines(): boolean {
    return this.#options.admission !== 'fifo';
  }

  #itemOptions({ deadlineUs, priority, tenant }: SubmitOptions, expectedUs?: number): ItemOptions {
    return {
      expectedUs,
      deadlineUs: this.#keepsDeadlines ? deadlineUs : undefined,
      priority,
      tenant,
      enqueuedUs: this.#options.clock.nowUs(),
      onSettled: (settled) => {
        if (this.#queue.remove(settled)) this.#admission.gaveUp(settled);
        this.#tellIdle();
      },
    };
  }

  #enqueue(items: readonly Item[], { signal }: SubmitOptions): void {
    if (this.#keepsDeadlines) cancelTogether(items, signal);
    for (const item of items) if (!item.isSettled) this.#queue.push(item);
    if (items[0] !== undefined) this.#deadlines.watch(items[0].deadlineUs);
    this.#deferPump();
  }

  #deferPump(): void {
    if (this.#pumpDeferred) return;
    this.#pumpDeferred = true;
    this.#options.clock.defer(() => {
      this.#pumpDeferred = false;
      this.#pump();
    });
  }

  /** The hand-over: while there is work and a free instance, form a batch and run it; then one more ahead of time. */
  #pump(): void {
    if (this.#pool.failure !== undefined) {
      const failure = ServingError.from(this.#pool.failure);
      for (const item of this.#waiting) item.settle(failure);
      return;
    }
    const take = () => this.#pool.take(this.#isLoneRequest);
    for (let executor = take(); executor !== undefined; executor = take()) {
      const batch = this.#nextBatch();
      if (batch === undefined) return;
      this.#start(executor, batch);
    }
    // Bulk is never handed over ahead of time: what is urgent would have to wait for two batches instead of one.
    const next = this.#queue.urgentSize >= PREFETCH_ITEMS ? this.#pool.prefetch() : undefined;
    const batch = next && this.#nextBatch(this.#forecast.nextFreeInUs(this.#options.clock.nowUs()));
    if (batch !== undefined) this.#start(next!, batch);
  }

  /** Whether one input is all the work there is, and long enough to gain by being alone. */
  get #isLoneRequest(): boolean {
    return this.#running + this.#retries.length === 0 && this.#queue.soleTokens >= this.#pool.loneTokens;
  }

  #start(executor: Executor, batch: Company): void {
    this.#queue.give(batch.items, this.#options.clock.nowUs());
    try {
      void this.#run(executor, loadOf(batch));
    } catch (thrown) {
      // Too large to be put together in memory; alone each may fit.
      this.#fail(batch.items, new ServingError('BATCH_FAILED', `${this.#options.owner}: ${String(thrown)}`));
    }
  }

  /** @param inUs when it would begin, from now */
  #nextBatch(inUs = 0): Company | undefined {
    const nowUs = this.#options.clock.nowUs();
    for (let retry = this.#retries.shift(); retry !== undefined; retry = this.#retries.shift()) {
      if (!retry.isSettled && !this.#expire(retry, nowUs)) return companyOf([retry]);
    }
    let window: Item[];
    // What waits behind a window full of expired items must not be forgotten.
    do window = this.#queue.window(WINDOW, nowUs).filter((item) => !this.#expire(item, nowUs + inUs));
    while (window.length === 0 && this.#queue.size > 0);
    if (window.length === 0) return undefined;
    const company = companyOf(window);
    if (this.#waitForCompany(company, nowUs)) return undefined;
    const { batch: limits } = this.#options;
    return chooseItems(company, { limits, costs: this.costs, freeInstances: this.#pool.free });
  }

  /** Work whose caller has stopped waiting, or will have when it is done, is never run. */
  #expire(item: Item, nowUs: number): boolean {
    const late = this.#admission.lateness(item, nowUs);
    if (late !== undefined) item.settle(late);
    return late !== undefined;
  }

  /** @returns the earliest deadline of those that go on waiting */
  #expireWaiting(): number {
    const nowUs = this.#options.clock.nowUs();
    const left = this.#waiting.filter((item) => !item.isSettled && !this.#expire(item, nowUs));
    return left.reduce((earliest, { deadlineUs }) => Math.min(earliest, deadlineUs), Infinity);
  }

  #waitForCompany(company: Company, nowUs: number): boolean {
    const { queueDelayUs, clock } = this.#options;
    if (queueDelayUs === 0 || this.#closed !== undefined || !hasRoom(company, this.#enough)) return false;
    const leftUs = company.items[0]!.enqueuedUs + queueDelayUs - nowUs;
    if (leftUs <= 0) return false;
    this.#cancelDelay?.();
    this.#cancelDelay = clock.after(leftUs, () => this.#pump());
    return true;
  }

  async #run(executor: Executor, load: Load): Promise<void> {
    const { clock, observer } = this.#options;
    const startedUs = clock.nowUs();
    this.#running++;
    this.#forecast.started(load, { instance: executor, nowUs: startedUs });
    try {
      const expectedUs = this.costs.isKnown && load.shape ? this.costs.predictUs(load.shape) : undefined;
      const result = await executor.run(load.batch, expectedUs);
      load.deliver(result, startedUs);
      const predictedUs = executor.isLone ? undefined : expectedUs;
      tellObserver(observer, load, {
        startedUs,
        computeUs: result.computeUs,
        predictedUs,
        costs: this.costs,
      });
      this.#forecast.done(load, result, { instance: executor, nowUs: clock.nowUs() });
    } catch (thrown) {
      // After destroy the workers die because they were told to; the caller should hear why.
      const error = this.#destroyed && this.#closed !== undefined ? this.#closed : ServingError.from(thrown);
      this.#fail(load.items, error);
    } finally {
      this.#running--;
      this.#forecast.ended(load);
      this.#pump();
      this.#tellIdle();
    }
  }

  #fail(items: readonly Item[], error: ServingError): void {
    if (error.reason === 'BATCH_FAILED' && items.length > 1) this.#retries.push(...items);
    else for (const item of items) item.settle(error);
  }

  get #waiting(): Item[] {
    return [...this.#retries, ...this.#queue.items];
  }

  #idle(): boolean {
    // Retries whose callers have gone wait for nothing; no instance may ever come by to clear them away.
    return this.#queue.size === 0 && this.#running === 0 && this.#retries.every((item) => item.isSettled);
  }

  #tellIdle(): void {
    if (this.#closed === undefined || !this.#idle()) return;
    this.#deadlines.cancel();
    for (const tell of this.#onIdle.splice(0)) tell();
  }
}
