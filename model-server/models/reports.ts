import type { InstanceState } from '../types.ts';
import type { Task } from './target.ts';

export type ModelState = 'unloaded' | 'loading' | 'ready' | 'draining' | 'failed';

/** One version of a model as lists show it. */
export interface VersionReport {
  name: string;
  version: number;
  state: ModelState;
  /** Why it is in this state: the cause of a failure, what evicted it, that it waits for its first request. */
  reason: string;
  /** Whether the version policy or the rollout serves it, or it stands in for those that can't. */
  served: boolean;
  /** Whether a request that means it would be answered, perhaps after a load. */
  answers: boolean;
  tasks: Task[];
  space: string;
  dimension: number;
  maxTokens: number;
  loadMs: number;
  instances: InstanceState[];
  memory: MemoryReport | undefined;
  selfCheck: SelfCheckReport | undefined;
  warnings: string[];
}

/** What a version takes on its device. */
export interface MemoryReport {
  device: string;
  predictedBytes: number;
  /** 0 until it has been measured. */
  measuredBytes: number;
  /** Requests that hold it now. */
  leases: number;
  /** Since its last request. */
  idleMs: number;
  /** Idle milliseconds after which it is unloaded; -1: never. */
  keepAliveMs: number;
}

/** What was found by running the model on known inputs right after loading. */
export interface SelfCheckReport {
  /** Texts of golden.json that were compared; 0 without such a file. */
  goldenTexts: number;
  /** Least cosine with the golden vectors; 1 without any. */
  goldenMinCosine: number;
  /** Least cosine of a text alone with the same text in a batch of strangers. */
  batchMinCosine: number;
  /** Whether alone and batched are equal to the bit. */
  batchIdentical: boolean;
  warnings: string[];
}

/** One value of the effective configuration and where it came from. */
export interface SourcedValue {
  /** In the words of config.pbtxt where it has one: `max_batch_size`, `instance_group`, `pooling`. */
  field: string;
  value: string;
  /** A file and field (`1_Pooling/config.json pooling_mode_mean_tokens`), `model.onnx`, or `default`. */
  source: string;
}

/** Everything about one version. */
export interface VersionDetails extends VersionReport {
  folder: string;
  effectiveConfig: SourcedValue[];
  /** Inputs and outputs: name, type, shape. */
  inputs: string[];
  outputs: string[];
}

/** The state of one device's memory. */
export interface DeviceMemory {
  device: string;
  limitBytes: number;
  /** What the process takes without any model. */
  baseBytes: number;
  /** Base and all models, measured where it has been, else predicted. */
  usedBytes: number;
  /** Resident memory of the process and its children right now; 0 where it can't be read. */
  residentBytes: number;
  rows: ({ owner: string } & MemoryReport)[];
}

/** Two versions of one model, compared as vector makers (or as rankers). */
export interface Comparison {
  a: number;
  b: number;
  /** identical: the same space id. near: the figures say that they agree. incompatible: they do not. */
  verdict: 'identical' | 'near' | 'incompatible';
  /** What the verdict rests on, in a sentence with figures. */
  why: string;
  texts: number;
  minCosine: number;
  meanCosine: number;
  /** Mean overlap of the ten nearest neighbours of each text under a and under b. */
  neighbourOverlap: number;
}
