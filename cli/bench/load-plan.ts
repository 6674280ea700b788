import type { DoorKind } from './open-door.ts';
import type { TextPool } from './texts.ts';

/** How requests come: each caller its next one after its last was answered, or at a rate whatever the server does. */
export type Arrivals =
  | { kind: 'closed'; concurrency: number }
  | { kind: 'open'; ratePerSecond: number; mostInFlight: number };

/** One stretch of load. */
export interface RunPlan {
  arrivals: Arrivals;
  /** Load that is not measured, before the stretch. */
  warmUpMs: number;
  durationMs: number;
  /** Deadline of each request from when it was due; 0: none. */
  timeoutMs: number;
  /** Longest wait for answers after the stretch. */
  graceMs: number;
  /** Requests after which the stretch ends early; undefined: it ends by time. */
  requests?: number | undefined;
}

/** Which requests are sent where. */
export interface LoadTarget {
  door: DoorKind;
  /** http://host:port */
  origin: string;
  wire: WireChoice;
  /** Further headers or gRPC metadata. */
  headers: Record<string, string>;
  pool: TextPool;
  /** Token ids of the pool's texts, for wires that send those; else empty. */
  rows: readonly (readonly number[])[];
  textsPerCall: number;
  /** Numbers in a vector; undefined: not known. */
  dimension: number | undefined;
  firstText: number;
}

/** A protocol and what it needs to know. */
export interface WireChoice {
  name: 'proto' | 'connect-json' | 'tei' | 'openai' | 'kserve';
  model: string;
  tensors: 'text' | 'ids';
}

/** What one stretch of load has given. All figures are of requests that were due within the stretch. */
export interface LoadResult {
  seconds: number;
  /** Texts and tokens that were answered within the stretch; calls that reach over an edge count by their share. */
  texts: number;
  tokens: number;
  calls: number;
  callsOk: number;
  /** Texts whose answer came within the deadline. */
  textsInTime: number;
  /** Milliseconds from due to answered of each good call, sorted. */
  latenciesMs: Float64Array;
  /** Count of failed calls by reason, and one message of each. */
  failures: Record<string, { calls: number; message: string }>;
  /** CPU that the client used, in cores. */
  clientCores: number;
  /** 99th percentile of how much later than due requests were sent. */
  lateMs: number;
  mostInFlight: number;
}
