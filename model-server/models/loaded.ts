import type { Pool } from '../executor/pool.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import type { TextTokenizer } from '../tasks/tokenizer.ts';
import type { BackendInfo, TextHead } from '../types.ts';
import type { Description } from './describe.ts';
import type { SelfCheckReport } from './reports.ts';

/** What texts are served with. */
export interface TextParts {
  tokenizer: TextTokenizer;
  head: TextHead;
}

/** All that a ready model version is made of. */
export interface Loaded extends Description {
  /** Model and version, for messages. */
  owner: string;
  info: BackendInfo;
  /** Absent when the model takes raw tensors only. */
  text: TextParts | undefined;
  pool: Pool;
  scheduler: Scheduler;
  /** Texts, or rows of raw tensors, in one batch at most. */
  maxBatchItems: number;
  selfCheck: SelfCheckReport | undefined;
  /** Aborted to stop the part of the warm-up that goes on in the background. */
  warming: AbortController;
}
