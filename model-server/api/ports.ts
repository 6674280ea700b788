import type { LoadOverride } from '../models/admin.ts';
import type { Comparison, DeviceMemory, VersionDetails, VersionReport } from '../models/reports.ts';
import type { TrafficChange } from '../models/rollout/plan-changes.ts';
import type { CanaryPlan, RolloutStatus } from '../models/rollout/status.ts';
import type {
  CallOptions,
  EmbedOutcome,
  InferOutcome,
  InferRequest,
  RerankOutcome,
  RerankRequest,
  TokenizeOutcome,
} from '../models/run-task.ts';
import type { Answered } from '../models/serving.ts';
import type { Target, VersionRef } from '../models/target.ts';
import type { TensorSpec } from '../types.ts';

/** The tensors of one version. */
export interface Signature {
  ref: VersionRef;
  inputs: TensorSpec[];
  outputs: TensorSpec[];
}

/** What the api asks of the models. Every method throws ServingError only. */
export interface ServingPort {
  embed(target: Target, texts: readonly string[], options: CallOptions): Promise<Answered<EmbedOutcome>>;
  rerank(target: Target, request: RerankRequest, options: CallOptions): Promise<Answered<RerankOutcome>>;
  tokenize(
    target: Target,
    texts: readonly string[],
    options: Pick<CallOptions, 'signal'>,
  ): Promise<Answered<TokenizeOutcome>>;
  infer(
    target: Target,
    request: InferRequest,
    options: Omit<CallOptions, 'truncate'>,
  ): Promise<Answered<InferOutcome>>;
  /** The tensors of the version that a request like this would reach. */
  signature(target: Target): Promise<Signature>;
}

/** What the api asks of those who administrate the models. Every method throws ServingError only. */
export interface AdminPort {
  list(): VersionReport[];
  /** Whether the server may be sent requests, as strictly as it is configured, and what that rests on. */
  readiness(): { ready: boolean; models: VersionReport[] };
  /** @param version undefined: all */
  show(model: string, version?: number): Promise<VersionDetails[]>;
  load(model: string, override?: LoadOverride): Promise<VersionReport[]>;
  /** @param version undefined: all */
  unload(model: string, version?: number): Promise<VersionReport[]>;
  /** @param model empty: the server */
  drain(model: string, resume: boolean): void;
  rolloutStatus(model: string): RolloutStatus;
  setTraffic(model: string, change: TrafficChange): Promise<RolloutStatus>;
  setShadow(model: string, shadow: { version: number; percent: number } | undefined): Promise<RolloutStatus>;
  startCanary(model: string, plan: CanaryPlan): Promise<RolloutStatus>;
  promote(model: string): Promise<RolloutStatus>;
  rollBack(model: string): Promise<RolloutStatus>;
  compare(model: string, a: number, b: number): Promise<Comparison>;
  memory(): DeviceMemory[];
  cleanUp(): Promise<{ evicted: string[]; freedBytes: number }>;
}
