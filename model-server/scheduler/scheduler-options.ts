import type { BatchLimits } from './batch-policy.ts';
import type { Clock } from './clock.ts';
import type { Priority } from './priority.ts';
import type { QueueLimits } from './queue.ts';

/**
 * How calls with deadlines are admitted. `deadline`: what can't be done in time is refused at once. `fifo`: everything is
 * queued and run in order, however late, as a server without deadlines does; it is there to be compared with.
 */
export type Admission = 'deadline' | 'fifo';

export interface SchedulerOptions {
  /** Model and version, for messages. */
  owner: string;
  batch: BatchLimits;
  /** What a batch costs before its first token, counted in tokens, until that has been measured. */
  overheadTokens: number;
  /** Whether only attention sees the padding of a batch. */
  packed?: boolean | undefined;
  /** `deadline` when absent. */
  admission?: Admission | undefined;
  queue: QueueLimits;
  /** Longest that the oldest input may wait for company while an instance is free, in microseconds. */
  queueDelayUs: number;
  /** Numbers of inputs (rows of raw tensors) at which it waits no longer; a full batch never waits. */
  preferredSizes?: readonly number[] | undefined;
  clock: Clock;
  observer?: SchedulerObserver | undefined;
}

/** Where the scheduler tells what it did, for metrics. */
export interface SchedulerObserver {
  batchDone(batch: {
    rows: number;
    tokens: number;
    /** Tokens that were computed, padding included. */
    paddedTokens: number;
    computeUs: number;
    /** Undefined for raw tensors. */
    predictedUs: number | undefined;
  }): void;
  itemQueued(queueUs: number): void;
}

/** Options of one call; all its inputs share them. */
export interface SubmitOptions {
  /** `default` when absent. */
  priority?: Priority | undefined;
  /** Who shares fairly with whom within a priority; calls that name nobody are one tenant. */
  tenant?: string | undefined;
  signal?: AbortSignal | undefined;
  /** On the scheduler's clock. */
  deadlineUs?: number | undefined;
}
