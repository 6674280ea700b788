/** What a loaded model version can be asked for. Every model takes raw tensors. */
export type Task = 'embed' | 'rerank' | 'infer';

/** Which model a request means. */
export interface Target {
  /** Empty: the only model that can do the task. */
  model: string;
  /** 0: none named, so traffic decides. A named version always wins. */
  version: number;
  /** An alias of rollout.yaml; empty: the model's default one, or its current version. */
  alias: string;
  task: Task | 'tokenize';
  /** When set, only a version of this vector space may answer. */
  expectSpace: string;
  /** Requests of one key go to one version; empty: the request's first text decides. */
  stickyKey: string;
}

/** Which version answered. */
export interface VersionRef {
  name: string;
  version: number;
  /** Empty for models that make no vectors. */
  space: string;
  /** Width of its vectors; 0 for models that make none. */
  dimension: number;
}
