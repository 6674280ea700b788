import { isDeepStrictEqual } from 'node:util';
import type { CanaryVerdict } from './canary.ts';
import type { CanaryWatch } from './canary-watch.ts';
import { atStep, withoutCanary } from './plan-changes.ts';
import type { PlanKeeper } from './plan-keeper.ts';
import type { CanaryProgress, Decision, RolloutPlan } from './status.ts';

/** What a rollout tells of itself; a pino logger fits. */
export interface RolloutLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface CanaryPilotOptions {
  model: string;
  /** Milliseconds since the epoch. */
  nowMs: () => number;
  log: RolloutLog;
  keeper: PlanKeeper;
  watch: CanaryWatch;
}

type Canary = NonNullable<RolloutPlan['canary']>;

const MOST_DECISIONS = 50;
/** After a decision that could not be written down. */
const RETRY_MS = 10_000;

/** Takes a canary from step to step, or back, as its figures say, and keeps the list of what was decided. */
export class CanaryPilot {
  readonly #options: CanaryPilotOptions;
  /** The newest first. */
  #decisions: readonly Decision[] = [];
  #stopped = false;
  /** The decision that is being written. */
  #underWay: Promise<void> | undefined;
  #retryAtMs = Number.NEGATIVE_INFINITY;
  /** A roll-back that its file does not say yet. It stays decided, whatever later requests bring. */
  #rollBack: CanaryVerdict | undefined;

  constructor(options: CanaryPilotOptions) {
    this.#options = options;
  }

  /** Whether the canary must go back, but its file does not say so yet: it gets no requests meanwhile. */
  get suspended(): boolean {
    return this.#rollBack !== undefined;
  }

  /** Where the canary that is in force stands. */
  progress(canary: Canary): CanaryProgress {
    const { watch } = this.#options;
    const { why, readings } = this.#verdict(canary);
    return {
      percent: this.suspended ? 0 : canary.steps[canary.step]!,
      requests: watch.requestsOf(canary.to),
      why: this.suspended ? `goes back as soon as rollout.yaml can be written: ${why}` : why,
      readings,
    };
  }

  get decisions(): readonly Decision[] {
    return this.#decisions;
  }

  /** Settles when the decision that is being written is done; undefined when there is none. */
  get underWay(): Promise<void> | undefined {
    return this.#underWay;
  }

  /** From now on nothing is decided. */
  stop(): void {
    this.#stopped = true;
  }

  /** Asks the figures what becomes of the canary, and sees to it. Cheap when there is nothing to do. */
  consider(): void {
    const canary = this.#options.keeper.plan?.canary;
    if (canary === undefined || this.#underWay !== undefined || this.#stopped) return;
    if (this.#options.nowMs() < this.#retryAtMs) return;
    const verdict = this.#verdict(canary);
    if (verdict.what === 'hold') return;
    this.#underWay = this.#carryOut(canary, verdict).finally(() => {
      this.#underWay = undefined;
    });
  }

  /** What becomes of the canary. An alias is never given to a version that is gone: the other one answers meanwhile. */
  #verdict(canary: Canary): CanaryVerdict {
    const { watch, keeper } = this.#options;
    const verdict = this.#rollBack ?? watch.verdict(canary);
    const winner = verdict.what === 'rollBack' ? canary.from : canary.to;
    if (verdict.what === 'hold' || keeper.exists(winner)) return verdict;
    return { ...verdict, what: 'hold', why: `stays as it is, for version ${winner} is gone: ${verdict.why}` };
  }

  /** Never rejects. */
  async #carryOut(canary: Canary, verdict: CanaryVerdict): Promise<void> {
    const { what, why, readings } = verdict;
    // Before the file: requests must not fail while it is written, or because it can't be.
    if (what === 'rollBack') this.#rollBack = verdict;
    try {
      const changed = await this.#options.keeper.change((plan) => {
        // A command, or an edit of the file, was faster.
        if (!isDeepStrictEqual(plan.canary, canary)) return undefined;
        if (what === 'advance') return atStep(plan, canary.step + 1);
        return withoutCanary(plan, what === 'promote' ? 'promoted' : 'rolled back');
      });
      if (!changed) {
        this.#pause(canary);
        return;
      }
    } catch (error) {
      this.#pause(canary);
      this.#options.log.error(
        { model: this.#options.model, decision: what, why, readings, cause: (error as Error).message },
        `canary of model ${this.#options.model} can't ${what === 'rollBack' ? 'be rolled back in its file (the new version gets no requests meanwhile)' : what} and is looked at again in ${RETRY_MS / 1000} s: ${(error as Error).message}`,
      );
      return;
    }
    if (what === 'advance') {
      this.note('advanced', 'schedule', `to ${canary.steps[canary.step + 1]} %: ${why}`, readings);
    } else if (what === 'promote') {
      this.note('promoted', 'schedule', `version ${canary.to}: ${why}`, readings);
    } else {
      this.note(
        'rolled back',
        'guard',
        `to version ${canary.from} at ${canary.steps[canary.step]} %: ${why}`,
        readings,
      );
    }
  }

  /** Looks at a canary again in a while, if it is still the one in force. */
  #pause(canary: Canary): void {
    if (!isDeepStrictEqual(this.#options.keeper.plan?.canary, canary)) return;
    this.#retryAtMs = this.#options.nowMs() + RETRY_MS;
  }

  /** Begins anew when another canary, or another step of it, has come into force. */
  onPlan(plan: RolloutPlan | undefined, before: RolloutPlan | undefined, by: 'file' | 'change'): void {
    const canary = plan?.canary;
    if (isDeepStrictEqual(canary, before?.canary)) return;
    this.#options.watch.reset(canary);
    this.#rollBack = undefined;
    this.#retryAtMs = Number.NEGATIVE_INFINITY;
    if (by === 'file') this.#noteFile(canary, before?.canary);
  }

  /** What an edit of the file, or a restart, has done to the canary. */
  #noteFile(canary: Canary | undefined, before: Canary | undefined): void {
    if (canary !== undefined) {
      const same = before?.alias === canary.alias && before.from === canary.from && before.to === canary.to;
      this.note(same ? 'advanced' : 'started', 'file', this.words());
    } else if (before !== undefined) {
      const weights = this.#options.keeper.plan?.aliases[before.alias];
      const promoted = (weights?.[before.to] ?? 0) > 0;
      this.note(
        promoted ? 'promoted' : 'rolled back',
        'file',
        `alias "${before.alias}" now has weights ${JSON.stringify(weights ?? {})}`,
      );
    }
  }

  /** Lists and logs a decision. */
  note(what: Decision['what'], by: Decision['by'], why: string, readings: readonly object[] = []): void {
    const { model, log, nowMs } = this.#options;
    const decision: Decision = { atMs: nowMs(), what, by, why };
    this.#decisions = [decision, ...this.#decisions].slice(0, MOST_DECISIONS);
    const level = what === 'rolled back' ? 'warn' : 'info';
    log[level](
      { model, decision: what, by, why, readings },
      `canary of model ${model} ${what} by ${by}: ${why}`,
    );
  }

  /** The canary in force and what it has seen, in words. */
  words(): string {
    const canary = this.#options.keeper.plan?.canary;
    if (canary === undefined) return 'no canary';
    const { alias, from, to, steps, step } = canary;
    return `alias "${alias}" from version ${from} to ${to}, at ${steps[step]} % after ${this.#options.watch.requestsOf(to)} requests`;
  }
}
