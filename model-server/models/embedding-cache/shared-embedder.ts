import { type Clock, systemClock } from '../../scheduler/clock.ts';
import type { ItemResult } from '../../scheduler/item.ts';
import { checkLength, prepareTexts } from '../../tasks/embed.ts';
import type { EncodedText } from '../../tasks/tokenizer.ts';
import {
  type CallOptions,
  type EmbedOutcome,
  embedTexts,
  type LoadedText,
  POOLED,
  prepareOptions,
  submitOptions,
  type Timings,
} from '../run-task.ts';
import type { EmbeddedText } from './embedded-text.ts';
import type { EmbeddingCache } from './embedding-cache.ts';
import { Flight, LEFT, type UnderWay, type Wish } from './flight.ts';
import { Gathering } from './gathering.ts';

/** A text that was computed just now, and where its time went. */
interface Computed extends Omit<Timings, 'tokenizeUs'> {
  text: EmbeddedText;
}

/** A text of a call that has no vector yet. */
interface Missing {
  index: number;
  text: string;
  key: string;
}

interface MissingRow extends Missing {
  encoded: EncodedText;
}

type Flights = Map<string, Flight<Computed>>;

/** How long reading from disk may hold the event loop at a stretch, in milliseconds. */
const SLICE_MS = 5;

/** Embeds texts with as little work as can be: what the cache has is not computed, and what is being computed is waited for. */
export class SharedEmbedder {
  readonly #cache: EmbeddingCache;
  readonly #clock: Clock;
  /** By loaded version: everybody who waits for a flight holds the version that works on it. */
  readonly #flights = new WeakMap<LoadedText, Flights>();

  constructor(cache: EmbeddingCache, clock: Clock = systemClock) {
    this.#cache = cache;
    this.#clock = clock;
  }

  /** Vectors of texts, of unit length if the model says so. @throws ServingError */
  embed(loaded: LoadedText, texts: readonly string[], options: CallOptions): Promise<EmbedOutcome> {
    if (options.noCache) return embedTexts(loaded, texts, options);
    const found: (EmbeddedText | undefined)[] = [];
    const missing: Missing[] = [];
    for (let index = 0; index < texts.length; index++) {
      const text = texts[index]!;
      const key = this.#cache.keyOf(loaded.space, text);
      const known = this.#cache.get(key);
      found.push(known);
      if (known === undefined) missing.push({ index, text, key });
    }
    if (missing.length > 0 || options.truncate === 'error')
      return this.#embedMissing(loaded, { found, missing }, options);
    return Promise.resolve(outcomeOf(found as EmbeddedText[], NO_TIME));
  }

  async #embedMissing(
    loaded: LoadedText,
    { found, missing }: { found: (EmbeddedText | undefined)[]; missing: Missing[] },
    options: CallOptions,
  ): Promise<EmbedOutcome> {
    const left = this.#cache.hasDisk ? await this.#readDisk(loaded, { found, missing }, options) : missing;
    const submit = submitOptions(loaded, options, this.#clock);
    const { priority = 'default', tenant = '', deadlineUs = Number.POSITIVE_INFINITY } = submit;
    const wish = { priority, tenant, deadlineUs };
    const gathering = new Gathering<Computed>(wish);
    let tokenizeUs = 0;
    try {
      const flights = this.#flightsOf(loaded);
      const alone = left.filter((one) => !this.#joinFlight(flights, gathering, one));
      if (alone.length > 0) loaded.scheduler.refuseEarly(alone.length, submit);
      const started = performance.now();
      const encoded = await this.#encode(loaded, { found, left, alone }, options);
      tokenizeUs = (performance.now() - started) * 1000;
      gathering.throwIfFailed();
      const rows = alone.map((one) => ({ ...one, encoded: encoded.get(one.index)! }));
      this.#fly(loaded, { gathering, wish, rows });
    } catch (thrown) {
      gathering.leave();
      throw thrown;
    }
    const { deadlineMs, signal } = options;
    const leftUs = deadlineMs === undefined ? Number.POSITIVE_INFINITY : (deadlineMs - Date.now()) * 1000;
    const hardDeadlineUs = this.#clock.nowUs() + leftUs;
    await gathering.all({ signal, hardDeadlineUs, clock: this.#clock, owner: loaded.owner });
    for (const [index, { text }] of gathering.results) found[index] = text;
    return outcomeOf(found as EmbeddedText[], slowestOf(gathering.results.values(), tokenizeUs));
  }

  /** @returns what is not on disk either */
  async #readDisk(
    { space }: LoadedText,
    { found, missing }: { found: (EmbeddedText | undefined)[]; missing: Missing[] },
    { signal }: CallOptions,
  ): Promise<Missing[]> {
    const left: Missing[] = [];
    let sliceStart = performance.now();
    for (const one of missing) {
      const known = this.#cache.getFromDisk(one.key, space);
      found[one.index] = known;
      if (known === undefined) left.push(one);
      if (performance.now() - sliceStart < SLICE_MS) continue;
      await new Promise((resolve) => setImmediate(resolve));
      signal?.throwIfAborted();
      sliceStart = performance.now();
    }
    return left;
  }

  /**
   * Token rows of the texts that nobody works on yet, by index. A call that refuses texts which are too long wants to know
   * of all before anything is computed for it.
   * @throws ServingError INPUT_TOO_LONG naming the first one, be it cached, under way or new
   */
  async #encode(
    loaded: LoadedText,
    { found, left, alone }: { found: (EmbeddedText | undefined)[]; left: Missing[]; alone: Missing[] },
    options: CallOptions,
  ): Promise<Map<number, EncodedText>> {
    const isStrict = options.truncate === 'error';
    const wanted = isStrict ? left : alone;
    const prepare = prepareOptions(loaded, options);
    const texts = wanted.map(({ text }) => text);
    const rows = await prepareTexts(loaded.text.tokenizer, texts, { ...prepare, truncate: 'end' });
    const encoded = new Map(wanted.map(({ index }, at) => [index, rows[at]!]));
    if (isStrict) {
      for (let index = 0; index < found.length; index++)
        checkLength((found[index] ?? encoded.get(index))!, index, prepare);
    }
    return encoded;
  }

  #flightsOf(loaded: LoadedText): Flights {
    const known = this.#flights.get(loaded);
    if (known !== undefined) return known;
    const flights: Flights = new Map();
    this.#flights.set(loaded, flights);
    return flights;
  }

  #joinFlight(flights: Flights, gathering: Gathering<Computed>, { key, index }: Missing): boolean {
    const flight = flights.get(key);
    if (flight === undefined) return false;
    this.#cache.missed('joined');
    gathering.join(flight, index);
    return true;
  }

  /** Begins, all together, what nobody has begun since. @throws ServingError when the scheduler refuses it */
  #fly(
    loaded: LoadedText,
    { gathering, wish, rows }: { gathering: Gathering<Computed>; wish: Wish; rows: MissingRow[] },
  ): void {
    const flights = this.#flightsOf(loaded);
    const begun: { flight: Flight<Computed>; row: MissingRow }[] = [];
    for (const row of rows) {
      if (this.#joinFlight(flights, gathering, row)) continue;
      this.#cache.missed('computed');
      const flight = new Flight<Computed>(
        (again) => this.#compute(loaded, [row], again)[0]!,
        () => flights.delete(row.key),
      );
      flights.set(row.key, flight);
      gathering.join(flight, row.index);
      begun.push({ flight, row });
    }
    if (begun.length === 0) return;
    const underWay = this.#compute(
      loaded,
      begun.map(({ row }) => row),
      wish,
    );
    for (const [index, { flight }] of begun.entries()) flight.fly(underWay[index]!, wish);
  }

  /** Cancelling one of these cancels all. @throws ServingError when the scheduler refuses them */
  #compute(
    { scheduler, space }: LoadedText,
    rows: readonly MissingRow[],
    { priority, tenant, deadlineUs }: Wish,
  ): UnderWay<Computed>[] {
    const leaving = new AbortController();
    const cancel = () => leaving.abort(LEFT);
    const promises = scheduler.submit(
      rows.map(({ encoded }) => ({ row: encoded.row, reduction: POOLED })),
      {
        priority,
        tenant,
        deadlineUs: deadlineUs === Number.POSITIVE_INFINITY ? undefined : deadlineUs,
        signal: leaving.signal,
      },
    );
    return promises.map((promise, index) => {
      const { key, encoded } = rows[index]!;
      return { promise: promise.then((result) => this.#keep({ key, space }, encoded, result)), cancel };
    });
  }

  #keep(
    { key, space }: { key: string; space: string },
    { tokens, truncated, row }: EncodedText,
    { output, queueUs, computeUs, postUs }: ItemResult,
  ): Computed {
    // A copy: what the scheduler gives is a view of the buffer of a whole batch.
    const text = { vector: output.slice(), tokens, tokensUsed: row.ids.length, truncated, cached: false };
    this.#cache.set(key, space, text);
    return { text, queueUs, computeUs, postUs };
  }
}

const NO_TIME: Timings = { queueUs: 0, tokenizeUs: 0, computeUs: 0, postUs: 0 };

function outcomeOf(texts: EmbeddedText[], timings: Timings): EmbedOutcome {
  return { vectors: texts.map(({ vector }) => vector), texts, timings };
}

function slowestOf(results: Iterable<Computed>, tokenizeUs: number): Timings {
  const timings = { ...NO_TIME, tokenizeUs };
  for (const { queueUs, computeUs, postUs } of results) {
    timings.queueUs = Math.max(timings.queueUs, queueUs);
    timings.computeUs = Math.max(timings.computeUs, computeUs);
    timings.postUs = Math.max(timings.postUs, postUs);
  }
  return timings;
}
