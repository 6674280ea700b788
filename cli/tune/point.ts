/** What is varied. */
export interface Candidate {
  instances: number;
  /** Threads inside each instance. */
  threads: number;
  /** Padded tokens in one batch at most. */
  batchTokens: number;
  /** Longest that the oldest text waits for company while an instance is free. */
  queueDelayUs: number;
}

/** What callers have found. */
export interface LoopFigures {
  textsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
  requests: number;
}

/** What one measurement has found. */
export interface Measured extends LoopFigures {
  /** Processor that the callers took, in cores; they live on one. */
  clientCores: number;
}

/** One measurement of one candidate. */
export interface Point extends Measured {
  candidate: Candidate;
  /** Requests that were in flight all the time. */
  concurrency: number;
  /** Whether it has been measured a second time, from a fresh start. */
  confirmed: boolean;
}

/** A candidate that could not be measured. */
export interface Failure {
  candidate: Candidate;
  why: string;
}

/** The same text for the same candidate. */
export function nameOf({ instances, threads, batchTokens, queueDelayUs }: Candidate): string {
  return `${instances} x ${threads} threads, ${batchTokens} tokens, ${queueDelayUs} us`;
}
