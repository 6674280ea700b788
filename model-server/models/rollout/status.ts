/** Weights of an alias by version; they need not add up to 100. */
export type Weights = Readonly<Record<number, number>>;

/** What decides whether a canary goes on. Absent guards are not looked at. */
export interface CanaryGuards {
  /** Share of failed requests of the new version, 0 to 1. */
  maxErrorRate?: number | undefined;
  /** p99 of the new version divided by the old one's. */
  maxP99Ratio?: number | undefined;
  /** Least mean cosine of mirrored texts, where both versions claim the same space. */
  minCosine?: number | undefined;
  /** Least mean Kendall tau of mirrored rankings. */
  minKendallTau?: number | undefined;
}

export interface CanaryPlan {
  alias: string;
  from: number;
  to: number;
  /** Percent of the alias's requests at each step, rising; the last is 100. */
  steps: readonly number[];
  /** Requests that the new version must have answered at each step before it is judged. */
  minRequests: number;
  guards: CanaryGuards;
}

/** What a rollout must know of a version of its model. */
export interface VersionFact {
  version: number;
  /** The version's own vector space, not a claimed one; empty while it isn't known or when it makes no vectors. */
  space: string;
  makesVectors: boolean;
}

/** What rollout.yaml says. */
export interface RolloutPlan {
  /** Alias of requests that name neither version nor alias. */
  defaultAlias: string | undefined;
  aliases: Readonly<Record<string, Weights>>;
  /** Whether an alias may mix versions of different vector spaces. */
  mixedSpaces: boolean;
  /** Versions that the operator claims to share one vector space; they are told as the space of the lowest. */
  sameSpace: readonly number[];
  shadow: { version: number; percent: number } | undefined;
  canary: (CanaryPlan & { step: number }) | undefined;
}

/** Requests of one version in the current window. */
export interface TrafficFigures {
  version: number;
  requests: number;
  errors: number;
  p50Ms: number;
  p99Ms: number;
}

/** A version against the one that answered, on mirrored requests. */
export interface ShadowFigures {
  version: number;
  against: number;
  requests: number;
  errors: number;
  /** Mirrored requests that were left out because too many were under way, or the version could not take them yet. */
  dropped: number;
  /** Embedders: cosine of the two vectors of a text. */
  cosine: Distribution | undefined;
  /** Rerankers: agreement of the two orders. */
  kendallTau: Distribution | undefined;
  /** Rerankers: overlap of the two top tens, 0 to 1. */
  topOverlap: Distribution | undefined;
  /** Latency of the mirrored request divided by that of the answered one. */
  latencyRatio: Distribution | undefined;
}

export interface Distribution {
  count: number;
  mean: number;
  min: number;
  p01: number;
  p50: number;
}

export interface GuardReading {
  name: keyof CanaryGuards;
  limit: number;
  actual: number;
  ok: boolean;
}

export interface CanaryProgress {
  /** Percent of the alias's requests that the new version gets now; 0 when it must go back and its file can't be written. */
  percent: number;
  requests: number;
  /** What it waits for before it goes on, or why it goes on or back. */
  why: string;
  /** Guards that there is evidence for. */
  readings: GuardReading[];
}

export interface Decision {
  /** Milliseconds since the epoch. */
  atMs: number;
  what: 'started' | 'advanced' | 'promoted' | 'rolled back';
  /** By itself (a broken guard, or a step that is done), by an operator's call, or by an edit of rollout.yaml. */
  by: 'guard' | 'schedule' | 'command' | 'file';
  why: string;
}

export interface RolloutStatus {
  model: string;
  plan: RolloutPlan;
  /** Why the newest rollout.yaml is not in force; empty when it is. */
  problem: string;
  traffic: TrafficFigures[];
  shadows: ShadowFigures[];
  canary: CanaryProgress | undefined;
  /** The newest first, 50 at most. */
  decisions: Decision[];
}
