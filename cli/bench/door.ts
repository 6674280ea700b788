import type { IncomingHttpHeaders } from 'node:http';

/** What a call that was answered well is settled with; anything else is the reason of its failure. */
export const OK = 'OK';
/** The connection broke, or could not be made. */
export const DISCONNECTED = 'DISCONNECTED';
/** Nobody answered until the end of the run. */
export const UNANSWERED = 'UNANSWERED';

/** A reply that was kept whole. */
export interface Reply {
  body: Buffer;
  headers: IncomingHttpHeaders;
}

/** Told once for each call; `reply` for those that were to be kept, `message` for failures that have one. */
export type Settled = (slot: number, reason: string, more?: { reply?: Reply; message?: string }) => void;

/** One way to send requests to a server. Slots are small numbers that the caller gives to the calls in flight. */
export interface Door {
  /** Resolves when requests can be sent; rejects with why not. */
  open(): Promise<void>;
  /** Sends a request. `keep`: its reply is wanted whole; others are read and forgotten. */
  send(slot: number, body: Buffer, keep: boolean): void;
  /** Gives up all calls in flight, which settle as UNANSWERED. */
  abandon(): void;
  close(): void;
}

/** Where a door leads. */
export interface DoorOptions {
  /** http://host:port */
  origin: string;
  path: string;
  headers: Readonly<Record<string, string>>;
  settled: Settled;
}
