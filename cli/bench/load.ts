import type { Door, Settled } from './door.ts';
import { OK } from './door.ts';
import type { LoadClock } from './load-clock.ts';
import type { LoadResult, RunPlan } from './load-plan.ts';
import { nextGapMs, type Random } from './random.ts';
import type { RequestSource } from './request-source.ts';
import { Tally } from './tally.ts';

/** Replies of each stretch that are wanted whole, to be checked; the others are only counted. */
const CHECKED_REPLIES = 16;
/** Pause of a caller in a closed loop after a failure: refused at once, it would do nothing but ask again. */
const FAILURE_PAUSE_MS = 10;
/** Reason of requests that were due while `mostInFlight` others were unanswered; they are not sent. */
const CLIENT_FULL = 'CLIENT_FULL';
/** Rejected as due, but never sent. */
const FULL_MESSAGE = 'too many calls were unanswered, so it was not sent';

export interface LoadOptions {
  door: Pick<Door, 'send' | 'abandon'>;
  source: Pick<RequestSource, 'next'>;
  clock: LoadClock;
  random: Random;
  plan: RunPlan;
}

/** One stretch of load. Calls in flight live in slots, so that a call costs no closure and no timer of its own. */
export class Load {
  readonly #options: LoadOptions;
  readonly #plan: RunPlan;
  readonly #tally: Tally;
  readonly #done = Promise.withResolvers<LoadResult>();
  readonly #dueMs: number[] = [];
  readonly #sentMs: number[] = [];
  readonly #texts: number[] = [];
  readonly #tokens: number[] = [];
  readonly #free: number[] = [];
  readonly #timers: (() => void)[] = [];
  #inFlight = 0;
  #mostInFlight = 0;
  /** Calls in flight that were due before the end of the stretch. */
  #measured = 0;
  #sent = 0;
  #checked = 0;
  #paused = 0;
  #nextDueMs = 0;
  #hasEnded = false;
  #isStopped = false;
  #cpuFromUs = 0;
  #cores = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#plan = options.plan;
    const startMs = options.clock.nowMs() + options.plan.warmUpMs;
    this.#tally = new Tally(startMs, startMs + options.plan.durationMs, options.plan.timeoutMs);
  }

  /** Sends until the stretch is over and all that was due in it is settled. */
  run(): Promise<LoadResult> {
    const { clock } = this.#options;
    const { warmUpMs, durationMs, arrivals } = this.#plan;
    this.#cpuFromUs = clock.cpuUs();
    this.#timers.push(
      clock.after(warmUpMs, () => (this.#cpuFromUs = clock.cpuUs())),
      clock.after(warmUpMs + durationMs, () => this.#endStretch()),
    );
    if (arrivals.kind === 'closed') for (let i = 0; i < arrivals.concurrency; i++) this.#sendNow();
    else {
      this.#nextDueMs = clock.nowMs() + this.#gapMs();
      this.#sendDue();
    }
    return this.#done.promise;
  }

  /** Ends the stretch now; what was measured so far is the result. */
  stop(): void {
    if (this.#hasEnded) return;
    this.#tally.endMs = Math.max(this.#options.clock.nowMs(), this.#tally.startMs);
    this.#isStopped = true;
    this.#endStretch();
  }

  /** To be called by the door for each call. */
  readonly settled: Settled = (slot, reason, more) => {
    const nowMs = this.#options.clock.nowMs();
    this.#tally.add({
      dueMs: this.#dueMs[slot]!,
      sentMs: this.#sentMs[slot]!,
      endedMs: nowMs,
      texts: this.#texts[slot]!,
      tokens: this.#tokens[slot]!,
      reason,
      message: more?.message,
    });
    this.#inFlight--;
    if (this.#dueMs[slot]! < this.#tally.endMs) this.#measured--;
    this.#free.push(slot);
    if (this.#hasEnded && this.#measured <= 0) this.#isStopped = true;
    if (this.#plan.arrivals.kind === 'closed') this.#goOn(reason);
    this.#finishIfOver();
  };

  /** The caller's next request. */
  #goOn(reason: string): void {
    if (this.#isStopped) return;
    if (reason === OK) {
      this.#sendNow();
      return;
    }
    this.#paused++;
    this.#options.clock.after(FAILURE_PAUSE_MS, () => {
      this.#paused--;
      if (!this.#isStopped) this.#sendNow();
      this.#finishIfOver();
    });
  }

  #sendNow(): void {
    this.#send(this.#options.clock.nowMs());
  }

  /** Sends all that is due, and comes back for the next one. */
  #sendDue(): void {
    if (this.#isStopped) return;
    const { clock } = this.#options;
    for (; this.#nextDueMs <= clock.nowMs() && !this.#isStopped; this.#nextDueMs += this.#gapMs())
      this.#send(this.#nextDueMs);
    clock.after(Math.max(0, this.#nextDueMs - clock.nowMs()), () => this.#sendDue());
  }

  #gapMs(): number {
    const { arrivals } = this.#plan;
    return arrivals.kind === 'open' ? nextGapMs(arrivals.ratePerSecond, this.#options.random) : 0;
  }

  #send(dueMs: number): void {
    const { door, source, clock } = this.#options;
    const { arrivals, requests } = this.#plan;
    const { body, texts, tokens } = source.next();
    const sentMs = clock.nowMs();
    if (arrivals.kind === 'open' && this.#inFlight >= arrivals.mostInFlight) {
      const unsent = { dueMs, sentMs, endedMs: sentMs, texts, tokens };
      this.#tally.add({ ...unsent, reason: CLIENT_FULL, message: FULL_MESSAGE });
      return;
    }
    const slot = this.#free.pop() ?? this.#dueMs.length;
    this.#dueMs[slot] = dueMs;
    this.#sentMs[slot] = sentMs;
    this.#texts[slot] = texts;
    this.#tokens[slot] = tokens;
    this.#inFlight++;
    this.#mostInFlight = Math.max(this.#mostInFlight, this.#inFlight);
    if (dueMs < this.#tally.endMs) this.#measured++;
    this.#sent++;
    // What is checked in the warm-up would not be counted when it is wrong.
    const isChecked = dueMs >= this.#tally.startMs && this.#checked++ < CHECKED_REPLIES;
    door.send(slot, body, isChecked);
    // The stretch then ends with the last answer.
    if (this.#sent === requests) this.#isStopped = true;
  }

  #endStretch(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const { clock, door } = this.#options;
    const tookMs = Math.min(clock.nowMs() - this.#tally.startMs, this.#tally.endMs - this.#tally.startMs);
    this.#cores = tookMs <= 0 ? 0 : (clock.cpuUs() - this.#cpuFromUs) / 1000 / tookMs;
    // The load goes on until the last measured call is answered: with the others gone it would be answered too fast.
    if (this.#measured <= 0) this.#isStopped = true;
    this.#timers.push(
      clock.after(this.#plan.graceMs, () => {
        this.#isStopped = true;
        door.abandon();
        this.#finishIfOver();
      }),
    );
    this.#finishIfOver();
  }

  #finishIfOver(): void {
    if (this.#isStopped && !this.#hasEnded && this.#inFlight === 0) {
      this.#tally.endMs = this.#options.clock.nowMs();
      this.#endStretch();
      return;
    }
    if (!this.#hasEnded || !this.#isStopped || this.#inFlight > 0 || this.#paused > 0) return;
    for (const cancel of this.#timers) cancel();
    this.#done.resolve(this.#tally.result(this.#cores, this.#mostInFlight));
  }
}
