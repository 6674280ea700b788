import { hash } from 'node:crypto';
import { ServingError } from '../errors.ts';
import { type CallOptions, PRIORITIES, type Priority } from '../models/run-task.ts';

/** What carries a call, as far as its context wants to know: a call of gRPC is one as it is. */
export interface Carrier {
  /** When the answer must be there, in milliseconds since the epoch; Infinity: whenever. */
  getDeadline(): Date | number;
  /** Metadata entries or headers, with their names in lower case. */
  metadata: { getMap(): Readonly<Record<string, unknown>> };
  /** Whether the call ended before its answer: the client left, or the deadline passed. */
  readonly cancelled: boolean;
  on(event: 'cancelled', listener: () => void): unknown;
}

/** What a call says of itself: until when, for whom and how urgently; and the signal that ends with it. */
export class CallContext {
  /** Milliseconds since the epoch. */
  readonly deadlineMs: number | undefined;
  /** Calls of one key go to one version where traffic is divided; empty: the text decides. */
  readonly stickyKey: string;
  readonly priority: Priority | undefined;
  /** For whom the call is made; empty: nobody in particular. */
  readonly tenant: string;
  readonly #call: Carrier;
  #signal: AbortSignal | undefined;

  /** @throws ServingError INVALID_INPUT for a priority that there is not */
  constructor(call: Carrier) {
    const deadlineMs = Number(call.getDeadline());
    this.deadlineMs = Number.isFinite(deadlineMs) ? deadlineMs : undefined;
    // One look at all entries: each look at one of them costs as much.
    const entries = call.metadata.getMap();
    const credential = entries['x-api-key'] ?? entries.authorization;
    // Callers who say nothing are told apart by their credential, of which only a hash goes further.
    const caller = credential === undefined ? '' : hash('sha256', `${credential}`, 'base64url');
    this.stickyKey = `${entries['nereid-sticky-key'] ?? ''}` || caller;
    this.tenant = `${entries['nereid-tenant'] ?? ''}` || caller;
    this.priority = priorityOf(entries['nereid-priority']);
    this.#call = call;
  }

  /** Ends with the call: the client cancelled or left, or the deadline passed. Made when first asked for. */
  get signal(): AbortSignal {
    this.#signal ??= endOf(this.#call, this.deadlineMs);
    return this.#signal;
  }
}

/** What the models are told of a request. Its signal is the call's, and made only for those who ask for it. */
export class RequestOptions implements CallOptions {
  readonly truncate: CallOptions['truncate'];
  readonly noCache: boolean;
  readonly #context: CallContext;

  constructor(context: CallContext, truncate: CallOptions['truncate'], noCache = false) {
    this.#context = context;
    this.truncate = truncate;
    this.noCache = noCache;
  }

  get signal(): AbortSignal {
    return this.#context.signal;
  }

  get deadlineMs(): number | undefined {
    return this.#context.deadlineMs;
  }

  get priority(): Priority | undefined {
    return this.#context.priority;
  }

  get tenant(): string {
    return this.#context.tenant;
  }
}

function endOf(call: Carrier, deadlineMs: number | undefined): AbortSignal {
  const controller = new AbortController();
  const end = () => {
    const late = deadlineMs !== undefined && Date.now() >= deadlineMs;
    const error = late
      ? new ServingError('DEADLINE_EXCEEDED', 'The deadline of the call passed before its answer was ready.')
      : new ServingError('CANCELLED', 'The client cancelled the call.');
    controller.abort(error);
  };
  if (call.cancelled) end();
  else call.on('cancelled', end);
  return controller.signal;
}

function priorityOf(entry: unknown): Priority | undefined {
  if (entry === undefined) return undefined;
  const known = PRIORITIES.find((priority) => priority === entry);
  if (known !== undefined) return known;
  throw new ServingError(
    'INVALID_INPUT',
    `nereid-priority is "${`${entry}`.slice(0, 64)}"; it must be ${PRIORITIES.join(', ')}.`,
  );
}
