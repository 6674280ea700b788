import { choose } from './choose.ts';
import { nextConcurrency, type Rung } from './ladder.ts';
import { layouts } from './layouts.ts';
import { neighbours } from './neighbours.ts';
import { type Candidate, type Failure, type Measured, nameOf, type Point } from './point.ts';

/** A server that runs with one candidate. */
export interface Session {
  /** Keeps `concurrency` requests in flight for so long. */
  measure(load: { concurrency: number; durationMs: number; signal: AbortSignal }): Promise<Measured>;
  close(): Promise<void>;
}

/** What the search measures with. */
export interface Bench {
  /** Starts a server with a candidate; the signal ends the attempt. */
  open(candidate: Candidate, signal: AbortSignal): Promise<Session>;
}

export interface SearchOptions {
  cores: number;
  targetP99Ms: number;
  /** The search ends within this time, but for the measurement that runs. */
  budgetMs: number;
  /** Padded tokens in one batch that the coarse search runs with: the server's own setting. */
  batchTokens: number;
  bench: Bench;
  /** Milliseconds from an arbitrary start. */
  nowMs: () => number;
  /** Ends the search; what was measured counts. */
  signal: AbortSignal;
  onStep?: ((doing: string) => void) | undefined;
  onPoint?: ((point: Point) => void) | undefined;
}

export interface SearchResult {
  points: Point[];
  failures: Failure[];
  /** Why the search went no further. */
  ended: 'complete' | 'budget' | 'interrupted';
  /** Milliseconds of each measurement. */
  measureMs: number;
}

const LEAST_MEASURE_MS = 400;
const MOST_MEASURE_MS = 4000;
/** What is expected of a search when its time is shared out. */
const EXPECTED = { startMs: 1500, rungs: 8, refinements: 6 };
/** Confirming takes so many measurements' time for one. */
const CONFIRM_FACTOR = 2;
const MOST_CONFIRMATIONS = 3;

/**
 * Looks for the candidate of the highest throughput within the target: every layout of the coarse search, then the
 * neighbours of the best one until none is better, then the best point once more on a fresh server, so that a lucky
 * measurement does not win. Never ends by a candidate that fails: that is noted.
 */
export async function search(options: SearchOptions): Promise<SearchResult> {
  return new Search(options).run();
}

class Search {
  readonly #options: SearchOptions;
  readonly #endMs: number;
  readonly #measureMs: number;
  readonly #points: Point[] = [];
  readonly #failures: Failure[] = [];
  readonly #tried = new Set<string>();
  /** The longest start of a server so far. */
  #startMs = 0;
  #isOutOfTime = false;

  constructor(options: SearchOptions) {
    this.#options = options;
    this.#endMs = options.nowMs() + options.budgetMs;
    this.#measureMs = measureMsOf(options);
  }

  async run(): Promise<SearchResult> {
    const { cores, batchTokens, signal } = this.#options;
    for (const layout of layouts(cores)) await this.#climb({ ...layout, batchTokens, queueDelayUs: 0 }, 1);
    await this.#refine();
    await this.#confirm();
    const ended = signal.aborted ? 'interrupted' : this.#isOutOfTime ? 'budget' : 'complete';
    return { points: this.#points, failures: this.#failures, ended, measureMs: this.#measureMs };
  }

  /** Goes from the best candidate to its neighbours, and on from whichever of them is better. */
  async #refine(): Promise<void> {
    for (let best = this.#best(); best !== undefined; best = this.#best()) {
      const { candidate, concurrency } = best;
      const next = neighbours(candidate, this.#options).find((one) => !this.#tried.has(nameOf(one)));
      if (next === undefined || !this.#hasTime(this.#confirmMs + this.#measureMs)) return;
      // Far below the best point's concurrency there is nothing to be found any more.
      await this.#climb(next, Math.max(1, Math.floor(concurrency / 2)), this.#confirmMs);
    }
  }

  async #confirm(): Promise<void> {
    for (let round = 0; round < MOST_CONFIRMATIONS; round++) {
      const best = this.#best();
      if (best === undefined || best.confirmed || !this.#hasTime(this.#confirmMs)) return;
      this.#options.onStep?.(`confirming ${nameOf(best.candidate)}`);
      await this.#inSession(best.candidate, (session) => this.#confirmAll(best.candidate, session));
    }
  }

  /** Measures again for as long as the best point is one of this candidate's. */
  async #confirmAll(candidate: Candidate, session: Session): Promise<void> {
    for (let best = this.#best(); best?.candidate === candidate && !best.confirmed; best = this.#best()) {
      if (!this.#hasTime(CONFIRM_FACTOR * this.#measureMs)) return;
      const again = await this.#measure(session, best.concurrency, CONFIRM_FACTOR);
      this.#points[this.#points.indexOf(best)] = merged(best, again);
    }
  }

  /** Measures a candidate at rising concurrency; `reserveMs` is left to what comes after. */
  async #climb(candidate: Candidate, first: number, reserveMs = 0): Promise<void> {
    this.#tried.add(nameOf(candidate));
    const { targetP99Ms, onPoint, onStep } = this.#options;
    if (!this.#hasTime(reserveMs + this.#startMs + this.#measureMs)) return;
    onStep?.(nameOf(candidate));
    await this.#inSession(candidate, async (session) => {
      const rungs: Rung[] = [];
      for (;;) {
        const concurrency = nextConcurrency(rungs, { first, targetP99Ms });
        if (concurrency === undefined || !this.#hasTime(reserveMs + this.#measureMs)) return;
        onStep?.(`${nameOf(candidate)}, ${concurrency} at a time`);
        const once = {
          ...(await this.#measure(session, concurrency)),
          concurrency,
          candidate,
          confirmed: false,
        };
        this.#points.push(once);
        const point = await this.#believed(once, session, reserveMs);
        rungs.push(point);
        onPoint?.(point);
      }
    });
  }

  /** A point that breaks the target is measured again: something else may have taken the cores for a moment. */
  async #believed(once: Point, session: Session, reserveMs: number): Promise<Point> {
    if (once.p99Ms <= this.#options.targetP99Ms || !this.#hasTime(reserveMs + this.#measureMs)) return once;
    const again = { ...once, ...(await this.#measure(session, once.concurrency)) };
    if (again.p99Ms >= once.p99Ms) return once;
    this.#points[this.#points.indexOf(once)] = again;
    return again;
  }

  #measure(session: Session, concurrency: number, factor = 1): Promise<Measured> {
    return session.measure({
      concurrency,
      durationMs: this.#measureMs * factor,
      signal: this.#options.signal,
    });
  }

  /** Runs a server for as long as the work takes. What fails is noted; an interruption is no failure. */
  async #inSession(candidate: Candidate, work: (session: Session) => Promise<void>): Promise<void> {
    const { bench, nowMs, signal } = this.#options;
    // A server that takes longer than what is left is of no use any more.
    const leftMs = Math.max(1, Math.floor(this.#endMs - nowMs()));
    const opening = AbortSignal.any([signal, AbortSignal.timeout(leftMs)]);
    let session: Session | undefined;
    try {
      const startedMs = nowMs();
      session = await bench.open(candidate, opening);
      this.#startMs = Math.max(this.#startMs, nowMs() - startedMs);
      await work(session);
    } catch (error) {
      if (opening.aborted && session === undefined && !signal.aborted) this.#isOutOfTime = true;
      else if (!signal.aborted) this.#failures.push({ candidate, why: (error as Error).message });
    } finally {
      await session?.close();
    }
  }

  get #confirmMs(): number {
    return this.#startMs + CONFIRM_FACTOR * this.#measureMs;
  }

  #hasTime(neededMs: number): boolean {
    if (this.#options.signal.aborted) return false;
    const has = this.#options.nowMs() + neededMs <= this.#endMs;
    if (!has) this.#isOutOfTime = true;
    return has;
  }

  #best(): Point | undefined {
    return choose(this.#points, this.#options.targetP99Ms)?.point;
  }
}

/** Shares the budget out among the measurements that a search is expected to need. */
function measureMsOf({ budgetMs, cores }: SearchOptions): number {
  const servers = layouts(cores).length + EXPECTED.refinements + 1;
  const measurements = servers * EXPECTED.rungs + CONFIRM_FACTOR;
  const share = (budgetMs - servers * EXPECTED.startMs) / measurements;
  return Math.round(Math.min(MOST_MEASURE_MS, Math.max(LEAST_MEASURE_MS, share)));
}

/** Both measurements of a point; the worse p99 counts, for a promise is made of it. */
function merged(point: Point, again: Measured): Point {
  const requests = point.requests + again.requests;
  const mean = (a: number, b: number) => (a * point.requests + b * again.requests) / requests;
  return {
    ...point,
    textsPerSecond: mean(point.textsPerSecond, again.textsPerSecond),
    p50Ms: mean(point.p50Ms, again.p50Ms),
    p99Ms: Math.max(point.p99Ms, again.p99Ms),
    requests,
    clientCores: Math.max(point.clientCores, again.clientCores),
    confirmed: true,
  };
}
