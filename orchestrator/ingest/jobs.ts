import { RagError } from '../errors.ts';
import type { CallOptions, JobItem, JobRecord } from '../ports.ts';
import { IdleOptimizer } from './idle-optimizer.ts';
import type { IngestLog } from './ingest-log.ts';
import type { JobEvent } from './job-event.ts';
import { JobFeed, settledEvents } from './job-feed.ts';
import { KeyedLock } from './keyed-lock.ts';
import { newJob } from './new-job.ts';
import { isSettled, itemOf, type OpenJob, settledStatus, stopping, type Task, taskOf } from './open-job.ts';
import type { IngestPipeline } from './pipeline.ts';
import { documentKey, reconcile } from './reconcile.ts';
import { reopenedJob } from './reopened-job.ts';
import type { StagedInput } from './staged-input.ts';

export interface JobRunnerOptions {
  /** Jobs that may be unfinished at one time at most; more are refused with QUEUE_FULL. */
  maxQueuedJobs: number;
  /** Documents that are worked on at one time at most; fewer when they are big. Default 16. */
  concurrency?: number | undefined;
  log?: IngestLog | undefined;
}

const DEFAULT_CONCURRENCY = 16;
/** Bytes of the uploads that are worked on at one time, so that big documents come one by one. */
const MAX_BYTES_AT_ONCE = 32 * 1024 * 1024;

/**
 * The durable queue of ingest jobs. `recover()` once, then `start()`; `close()` leaves what is not finished for the
 * next start.
 */
export class JobRunner {
  readonly #pipeline: IngestPipeline;
  readonly #options: JobRunnerOptions;
  readonly #jobs = new Map<string, OpenJob>();
  readonly #queue = new Set<Task>();
  readonly #running = new Map<Task, Promise<void>>();
  readonly #documents = new KeyedLock();
  readonly #optimizer: IdleOptimizer;
  #leftovers = new Map<string, string[]>();
  #runningBytes = 0;
  #started = false;
  #closing = false;

  constructor(pipeline: IngestPipeline, options: JobRunnerOptions) {
    this.#pipeline = pipeline;
    this.#options = options;
    this.#optimizer = new IdleOptimizer(pipeline.deps.vectors, options.log);
  }

  /**
   * Queues the documents as one job, durable when it returns. On a throw the caller still owns the staged files.
   * @throws RagError QUEUE_FULL, STOPPING, INVALID_INPUT (no inputs, or a bad document id)
   */
  submit(collection: string, inputs: readonly StagedInput[]): JobRecord {
    if (this.#closing) throw stopping();
    const { maxQueuedJobs } = this.#options;
    if (this.#jobs.size >= maxQueuedJobs) {
      const message = `${this.#jobs.size} ingest jobs wait already, which is the limit (max-queued-jobs). Try again when some are done.`;
      throw new RagError('QUEUE_FULL', message);
    }
    const record = newJob(collection, inputs);
    this.#metadata.putJob(record);
    this.#open(record);
    this.#pump();
    return { ...record, items: [...record.items] };
  }

  /** Undefined when there is no such job. */
  get(id: string): JobRecord | undefined {
    return this.#metadata.getJob(id);
  }

  /**
   * Resolves with the job when it is settled (succeeded, failed or partial).
   * @throws RagError NOT_FOUND, CANCELLED or DEADLINE_EXCEEDED (the signal; the job goes on), STOPPING
   */
  async wait(id: string, options: CallOptions = {}): Promise<JobRecord> {
    for await (const event of this.events(id, options)) {
      if (event.type === 'job_settled') return event.job;
    }
    throw RagError.from(options.signal?.reason);
  }

  /**
   * What happens to a job: first what is settled already, then live, until `job_settled`. A slow reader misses
   * intermediate progress, never a settled item. Ends quietly when the signal aborts.
   * @throws RagError NOT_FOUND (at once), STOPPING (while iterating)
   */
  events(id: string, options: CallOptions = {}): AsyncIterable<JobEvent> {
    const job = this.#jobs.get(id);
    if (job !== undefined) return job.feed.follow(job.record, options);
    const record = this.get(id);
    if (record === undefined) throw new RagError('NOT_FOUND', `There is no ingest job "${id}".`);
    return replay(record);
  }

  /**
   * Removes a document: invisible when the call returns its promise, gone when that resolves. Ingests of it that
   * wait or run are cancelled. False when there is no such document.
   * @throws RagError STORE_UNAVAILABLE: it is invisible, and the rest is removed at the next start
   */
  async deleteDocument(collection: string, id: string): Promise<boolean> {
    const key = documentKey(collection, id);
    const document = this.#metadata.getDocument(collection, id);
    if (document !== undefined) {
      this.#metadata.putDocument({ ...document, status: 'deleting', updatedAt: new Date().toISOString() });
    }
    const cancelled = this.#cancelIngests(
      key,
      new RagError('CANCELLED', 'The document was deleted before it was ingested.'),
    );
    if (document === undefined && cancelled === 0) return false;
    await this.#documents.run(key, () => this.#remove(collection, id));
    return true;
  }

  /**
   * Makes the stores agree after a crash: queues unfinished jobs again, removes revisions that no document shows,
   * finishes deletions, removes staged files that nothing needs. Call it before anything is staged.
   * @throws RagError STORE_UNAVAILABLE; unfinished jobs are queued nevertheless
   */
  async recover(): Promise<void> {
    const { staging, vectors } = this.#pipeline.deps;
    for (const left of this.#metadata.unfinishedJobs()) {
      const job = await reopenedJob(this.#pipeline, left);
      if (job.status === 'queued') this.#open(job);
    }
    const waiting = [...this.#queue];
    await staging.keepOnly(new Set(waiting.map((task) => itemOf(task).stagedFile)));
    const keys = new Set(waiting.map((task) => task.key));
    const { leftovers, ...done } = await reconcile({ vectors, metadata: this.#metadata, waiting: keys });
    this.#leftovers = leftovers;
    if (waiting.length > 0 || Object.values(done).some((count) => count > 0)) {
      this.#options.log?.info({ requeued: waiting.length, ...done }, 'recovered from an unclean stop');
    }
  }

  /** Begins to work on the queue. */
  start(): void {
    this.#started = true;
    this.#pump();
  }

  /** Stops at the next batch border and ends the readers; unfinished items stay for the next start. Idempotent. */
  async close(): Promise<void> {
    this.#closing = true;
    for (const task of this.#running.keys()) task.abort.abort(stopping());
    await Promise.all(this.#running.values());
    for (const job of this.#jobs.values()) job.feed.fail(stopping());
    await this.#optimizer.settled();
    await this.#pipeline.close();
  }

  get #metadata() {
    return this.#pipeline.deps.metadata;
  }

  #open(record: JobRecord): void {
    const unsettled = record.items.filter((item) => !isSettled(item));
    const job: OpenJob = { record, unsettled: unsettled.length, feed: new JobFeed() };
    this.#jobs.set(record.id, job);
    for (const { index, documentId: id } of unsettled) {
      const key = documentKey(record.collection, id);
      this.#queue.add({ job, index, key, abort: new AbortController() });
    }
  }

  #pump(): void {
    const limit = this.#options.concurrency ?? DEFAULT_CONCURRENCY;
    for (const task of this.#queue) {
      if (!this.#started || this.#closing || this.#running.size >= limit) return;
      const { bytes } = itemOf(task);
      if (this.#running.size > 0 && this.#runningBytes + bytes > MAX_BYTES_AT_ONCE) return;
      this.#queue.delete(task);
      this.#runningBytes += bytes;
      const work = this.#documents
        .run(task.key, () => this.#work(task))
        .finally(() => {
          this.#running.delete(task);
          this.#runningBytes -= bytes;
          this.#pump();
          if (!this.#closing && this.#queue.size + this.#running.size === 0) this.#optimizer.run();
        });
      this.#running.set(task, work);
    }
  }

  /** Never throws: what goes wrong settles the item. */
  async #work(task: Task): Promise<void> {
    if (this.#closing || isSettled(itemOf(task))) return;
    const { job, index, key } = task;
    const about = { jobId: job.record.id, index, documentId: itemOf(task).documentId };
    try {
      this.#begin(task);
      const leftovers = this.#leftovers.get(key);
      this.#leftovers.delete(key);
      const settled = await this.#pipeline.ingest(
        { ...taskOf(job.record, itemOf(task)), leftovers },
        {
          signal: task.abort.signal,
          onProgress: (progress) => job.feed.emit({ type: 'item_progress', ...about, ...progress }),
        },
      );
      await this.#settle(task, settled);
    } catch (thrown) {
      const error = RagError.from(thrown);
      if (this.#closing && error.reason === 'STOPPING') return;
      await this.#fail(task, error);
    }
  }

  #begin({ job, index }: Task): void {
    const item: JobItem = { ...job.record.items[index]!, status: 'running' };
    job.record.items[index] = item;
    job.record.status = 'running';
    this.#metadata.updateJobItem(job.record.id, item, 'running');
    const { documentId: id, source } = item;
    job.feed.emit({ type: 'item_started', jobId: job.record.id, index, documentId: id, source });
  }

  async #fail(task: Task, error: RagError): Promise<void> {
    const item = itemOf(task);
    const jobId = task.job.record.id;
    const { reason, message } = error;
    const { documentId: id, source } = item;
    this.#options.log?.info({ jobId, documentId: id, source, reason }, `not ingested: ${message}`);
    try {
      await this.#settle(task, this.#pipeline.fail(taskOf(task.job.record, item), error));
    } catch (thrown) {
      // The store can't take the failure: callers are told nevertheless, and the next start tries the item again.
      this.#notStored(jobId, thrown);
      this.#announce(task, { ...item, status: 'failed', error: { reason, message } });
    }
  }

  /** The item is settled in the store already; here its upload goes, and its job learns it. */
  async #settle(task: Task, item: JobItem): Promise<void> {
    if (item.status === 'ready') this.#optimizer.changed(task.job.record.collection);
    await this.#pipeline.deps.staging.discard(item.stagedFile).catch(() => {
      // A staged file that can't be removed now is removed at the next start.
    });
    this.#announce(task, item);
  }

  #announce({ job, index }: Task, item: JobItem): void {
    const { record, feed } = job;
    record.items[index] = item;
    record.updatedAt = new Date().toISOString();
    job.unsettled--;
    feed.emit({ type: 'item_settled', jobId: record.id, item });
    if (job.unsettled > 0) return;
    record.status = settledStatus(record.items);
    try {
      this.#metadata.updateJobItem(record.id, item, record.status);
    } catch (thrown) {
      this.#notStored(record.id, thrown);
    }
    this.#jobs.delete(record.id);
    feed.emit({ type: 'job_settled', jobId: record.id, job: record });
  }

  #notStored(jobId: string, thrown: unknown): void {
    const { message } = RagError.from(thrown);
    this.#options.log?.warn({ jobId, error: message }, 'the state of a job could not be stored');
  }

  #cancelIngests(key: string, error: RagError): number {
    const queued = [...this.#queue].filter((task) => task.key === key);
    const running = [...this.#running.keys()].filter((task) => task.key === key);
    for (const task of queued) {
      this.#queue.delete(task);
      void this.#fail(task, error);
    }
    for (const task of running) task.abort.abort(error);
    return queued.length + running.length;
  }

  async #remove(collection: string, id: string): Promise<void> {
    if (this.#metadata.getDocument(collection, id)?.status !== 'deleting') return;
    try {
      await this.#pipeline.deps.vectors.deleteDocument(collection, id);
    } catch (thrown) {
      const message = `Document "${id}" is no longer found, but its vectors could not be removed yet; the next start does it. ${RagError.from(thrown).message}`;
      throw new RagError('STORE_UNAVAILABLE', message, { cause: thrown });
    }
    this.#metadata.removeDocument(collection, id);
    this.#optimizer.changed(collection);
  }
}

async function* replay(job: JobRecord): AsyncGenerator<JobEvent, void, undefined> {
  yield* settledEvents(job);
}
