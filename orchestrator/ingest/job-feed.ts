import type { CallOptions, JobRecord } from '../ports.ts';
import type { JobEvent } from './job-event.ts';

/** One reader's events that wait to be read: of each document at most its newest progress. */
class Mailbox {
  readonly #events = new Set<JobEvent>();
  readonly #progress = new Map<number, JobEvent>();
  #wake: (() => void) | undefined;

  put(event: JobEvent): void {
    if (event.type === 'item_progress') {
      const older = this.#progress.get(event.index);
      if (older !== undefined) this.#events.delete(older);
      this.#progress.set(event.index, event);
    }
    this.#events.add(event);
    this.wake();
  }

  take(): JobEvent | undefined {
    const [event] = this.#events;
    if (event === undefined) return undefined;
    this.#events.delete(event);
    if (event.type === 'item_progress') this.#progress.delete(event.index);
    return event;
  }

  wake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /** Resolves at the next `put` or `wake`. */
  waiting(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** Events of a settled job, as if it had been watched. */
export function* settledEvents(job: JobRecord): Generator<JobEvent> {
  for (const item of job.items) {
    if (item.status !== 'queued' && item.status !== 'running')
      yield { type: 'item_settled', jobId: job.id, item };
  }
  if (job.status !== 'queued' && job.status !== 'running') yield { type: 'job_settled', jobId: job.id, job };
}

/** Passes the events of one unfinished job to any number of readers, none of which can hold it up. */
export class JobFeed {
  readonly #mailboxes = new Set<Mailbox>();
  #failure: Error | undefined;

  emit(event: JobEvent): void {
    for (const mailbox of this.#mailboxes) mailbox.put(event);
  }

  /** Ends every reader with this error. */
  fail(error: Error): void {
    this.#failure = error;
    for (const mailbox of this.#mailboxes) mailbox.wake();
  }

  /** Events from now on, after those of `job` that were before, until the job is settled or the signal aborts. */
  async *follow(job: JobRecord, { signal }: CallOptions): AsyncGenerator<JobEvent, void, undefined> {
    const mailbox = new Mailbox();
    const onAbort = () => mailbox.wake();
    this.#mailboxes.add(mailbox);
    signal?.addEventListener('abort', onAbort, { once: true });
    for (const event of settledEvents(job)) mailbox.put(event);
    try {
      while (signal?.aborted !== true) {
        const event = mailbox.take();
        if (event !== undefined) {
          yield event;
          if (event.type === 'job_settled') return;
        } else if (this.#failure !== undefined) {
          throw this.#failure;
        } else {
          await mailbox.waiting();
        }
      }
    } finally {
      this.#mailboxes.delete(mailbox);
      signal?.removeEventListener('abort', onAbort);
    }
  }
}
