/** What a thread of the limit is started with. */
export interface LimitWork {
  modelFile: string;
  threads: number;
  /** Token ids of each text of each batch. */
  batches: readonly (readonly (readonly number[])[])[];
}

/** What a thread has done in the time it was given. */
export interface LimitDone {
  texts: number;
  tokens: number;
  elapsedMs: number;
  /** Time of the middle batch, in milliseconds. */
  medianMs: number;
}

/** Sent once, when the session is open. */
export type LimitReady = { inputs: readonly string[] };
