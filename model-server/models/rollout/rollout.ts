import { type Reason, ServingError } from '../../errors.ts';
import { mirrorEvery } from './canary.ts';
import { CanaryPilot, type RolloutLog } from './canary-pilot.ts';
import { CanaryWatch } from './canary-watch.ts';
import { Mirror } from './mirror.ts';
import {
  NO_PLAN,
  type TrafficChange,
  withCanary,
  withoutCanary,
  withShadow,
  withTraffic,
} from './plan-changes.ts';
import { PlanKeeper } from './plan-keeper.ts';
import { claimedSpace } from './plan-problems.ts';
import { followRoute, missesCanary } from './routes.ts';
import type { ShadowPair, ShadowSample } from './shadow-book.ts';
import type { CanaryPlan, RolloutPlan, RolloutStatus, VersionFact } from './status.ts';
import { pickShare } from './traffic.ts';

export interface RolloutOptions {
  model: string;
  /** Path of the model's rollout.yaml, which need not exist. */
  file: string;
  /** Milliseconds since the epoch. */
  nowMs: () => number;
  log: RolloutLog;
  /** The model's versions as they are now, with their own spaces. */
  facts: () => readonly VersionFact[];
  /** Reads a version of `facts` from its files, to know its space before anything is sent to it. */
  readFact?: ((version: number) => Promise<VersionFact>) | undefined;
  /** Told of the plan that is in force from now on; undefined: none. */
  onPlan?: ((plan: RolloutPlan | undefined) => void) | undefined;
}

/** Whether a version can take requests now, later, or not at all. */
type Usable = (version: number) => boolean | 'later';

/** Failures of a mirrored request that say nothing about the version that it went to. */
const LEFT_OUT: readonly Reason[] = [
  // It is named already, but only being got ready.
  'VERSION_NOT_FOUND',
  'MODEL_DRAINING',
  'SERVER_STOPPING',
  'MEMORY_BUDGET_EXCEEDED',
  'QUEUE_FULL',
];

/** No alias is longer; a request may name anything, and is not echoed beyond this. */
const MOST_ALIAS_CHARACTERS = 64;

/**
 * Which version of one model a request takes, and how that changes: weighted aliases, a shadow, a canary that goes on
 * or back by itself. Its plan is rollout.yaml; commands write it, hand edits are taken over by `reload`. Without that
 * file `choose`, `record` and `shadowOf` return at once.
 */
export class Rollout {
  readonly #options: RolloutOptions;
  readonly #keeper: PlanKeeper;
  readonly #watch = new CanaryWatch();
  readonly #mirror = new Mirror();
  readonly #pilot: CanaryPilot;
  #mirrorTurn = 0;
  #keyless = 0;

  constructor(options: RolloutOptions) {
    this.#options = options;
    this.#keeper = new PlanKeeper({
      ...options,
      onPlan: (plan, before, by) => {
        this.#pilot.onPlan(plan, before, by);
        options.onPlan?.(plan);
      },
      onProblem: (problem) =>
        options.log.error(
          { model: options.model, problem },
          `rollout.yaml of model ${options.model} is not fully in force: ${problem}`,
        ),
    });
    this.#pilot = new CanaryPilot({ ...options, keeper: this.#keeper, watch: this.#watch });
  }

  /**
   * Takes over an edit of rollout.yaml and changes among the versions. A plan that is wrong leaves the one in force;
   * `status().problem` says why, and the log once. Call it when polling, and when a version has been loaded or removed.
   */
  async reload(): Promise<void> {
    await this.#keeper.reload();
    this.#watch.keep((version) => this.#keeper.exists(version));
    this.#pilot.consider();
  }

  /**
   * The version that a request without a version takes.
   * @param request `alias` may be empty; requests of one `key` stay together, those with an empty one are dealt out
   * @param usable whether a version can take requests; the share of those that can't goes to the others. What a canary's
   * new version misses like that counts as failed, so that one that can't be loaded goes back. `later`: it is only being
   * got ready, so that nothing is held against it, and it is taken when there is no other.
   * @returns undefined when the rollout says nothing: take the current version
   * @throws ServingError VERSION_NOT_FOUND for an unknown alias, MODEL_NOT_READY when none of its versions is usable
   */
  choose(request: { alias: string; key: string }, usable: Usable = () => true): number | undefined {
    const { plan, routes, problem } = this.#keeper;
    const alias = request.alias || plan?.defaultAlias;
    if (alias === undefined) return undefined;
    const route = routes.get(alias);
    if (route === undefined) throw this.#unknownAlias(alias);
    // Nothing to stick to: without a key of its own each of these would take the same version.
    const key = request.key || `\0${this.#keyless++}`;
    const inForce = this.#pilot.suspended ? { ...route, canary: undefined } : route;
    const isNotFailed = (version: number) => usable(version) !== false;
    if (missesCanary(inForce, key, isNotFailed))
      this.record({ version: inForce.canary!.to, ms: 0, ok: false });
    const version =
      followRoute(inForce, key, (one) => usable(one) === true) ?? followRoute(inForce, key, isNotFailed);
    if (version !== undefined) return version;
    throw new ServingError(
      'MODEL_NOT_READY',
      `no version of alias "${alias}" of model ${this.#options.model} can take requests now; its weights are ${JSON.stringify(plan?.aliases[alias])}.${problem && ` ${problem}`}`,
      { retryAfterMs: 1000 },
    );
  }

  /**
   * Counts a request that a version has been given, mirrored ones left out. What the caller got wrong or took back is
   * no failure of the version: pass `ok: false` only for the server's own.
   */
  record({ version, ms, ok }: { version: number; ms: number; ok: boolean }): void {
    if (this.#keeper.plan === undefined) return;
    this.#watch.record(version, ms, ok);
    this.#pilot.consider();
  }

  /**
   * The version that an answered request is to be mirrored to, if any: a share of what a canary answers, else the
   * shadow's percent.
   * @param key best the text rather than a sticky key, so that one busy caller does not decide for all
   */
  shadowOf(version: number, key: string): number | undefined {
    const { plan } = this.#keeper;
    if (plan === undefined) return undefined;
    const { canary, shadow } = plan;
    if (canary?.to === version && this.#keeper.exists(canary.from)) {
      const turn = this.#mirrorTurn++;
      if (turn % mirrorEvery(canary) === 0) return canary.from;
    }
    if (shadow === undefined || shadow.version === version || !this.#keeper.exists(shadow.version))
      return undefined;
    return pickShare(key, shadow.percent, `${this.#options.model}/shadow`) ? shadow.version : undefined;
  }

  /**
   * Runs a mirrored request, without waiting for it: two at a time, more are left out and counted. What `run` throws
   * is counted: as an error, or as left out when it is not the version's doing. `run` gets a signal that ends it on close, and brings its own deadline.
   * @returns whether it was started
   */
  mirror(pair: ShadowPair, run: (signal: AbortSignal) => Promise<void>): boolean {
    const started = this.#mirror.start(run, (error) => {
      const figures = this.#watch.book.of(pair);
      if (LEFT_OUT.includes(ServingError.from(error).reason)) {
        figures.dropped += 1;
        return;
      }
      figures.requests += 1;
      figures.errors += 1;
    });
    if (!started) this.#watch.book.of(pair).dropped += 1;
    return started;
  }

  /** Compares a mirrored request's answer with the one that the caller got. */
  recordShadow(sample: ShadowSample): void {
    if (this.#keeper.plan === undefined) return;
    this.#watch.book.add(sample);
    this.#pilot.consider();
  }

  /** The space that a version is told as: where the operator claims that versions share one, the lowest one's. */
  claimedSpace(version: number, ownSpace: string): string {
    const { plan } = this.#keeper;
    if (plan === undefined || plan.sameSpace.length === 0) return ownSpace;
    return claimedSpace(plan, this.#keeper.claims, { version, ownSpace });
  }

  /**
   * Sets the weights of an alias.
   * @throws ServingError INVALID_INPUT, VERSION_NOT_FOUND, SPACE_MISMATCH; MODEL_CONFIG_INVALID when rollout.yaml was
   * edited meanwhile or is not understood; INTERNAL when it can't be written. The same holds for all changes.
   */
  async setTraffic(change: TrafficChange): Promise<RolloutStatus> {
    return this.#changed((plan) => withTraffic(plan, change), `weights ${JSON.stringify(change.weights)}`);
  }

  /** Mirrors a percent of the requests to a version, or nothing any more. */
  async setShadow(shadow: RolloutPlan['shadow']): Promise<RolloutStatus> {
    return this.#changed((plan) => withShadow(plan, shadow), `shadow ${JSON.stringify(shadow ?? 'off')}`);
  }

  /** Begins a canary at its first step; see `withCanary` for what an empty alias and `from` 0 mean. */
  async startCanary(canary: CanaryPlan): Promise<RolloutStatus> {
    await this.#keeper.change((plan) => withCanary(plan, canary));
    this.#pilot.note('started', 'command', `${this.#pilot.words()}, guards ${JSON.stringify(canary.guards)}`);
    return this.status();
  }

  /** Ends the canary in favour of the new version. */
  promote(): Promise<RolloutStatus> {
    return this.#end('promoted');
  }

  /** Ends the canary in favour of the old version. */
  rollBack(): Promise<RolloutStatus> {
    return this.#end('rolled back');
  }

  status(): RolloutStatus {
    const plan = this.#keeper.plan ?? NO_PLAN;
    const { canary } = plan;
    return {
      model: this.#options.model,
      plan,
      problem: this.#keeper.problem,
      traffic: this.#watch.read(),
      shadows: this.#watch.book.read(),
      canary: canary && this.#pilot.progress(canary),
      decisions: [...this.#pilot.decisions],
    };
  }

  /** Resolves when no mirrored request and no change is under way. */
  async idle(): Promise<void> {
    let settled: unknown;
    do {
      settled = this.#keeper.settled;
      await this.#mirror.idle();
      await this.#settled();
    } while (settled !== this.#keeper.settled);
  }

  /** Ends mirrored requests and finishes the change that is under way; from then on nothing is decided. Idempotent. */
  async close(): Promise<void> {
    this.#pilot.stop();
    await this.#mirror.close();
    await this.#settled();
  }

  async #settled(): Promise<void> {
    await this.#keeper.settled;
    await this.#pilot.underWay;
  }

  async #end(outcome: 'promoted' | 'rolled back'): Promise<RolloutStatus> {
    let why = '';
    await this.#keeper.change((plan) => {
      why = this.#pilot.words();
      const next = withoutCanary(plan, outcome);
      const winner = outcome === 'promoted' ? plan.canary!.to : plan.canary!.from;
      if (this.#keeper.exists(winner)) return next;
      throw new ServingError(
        'VERSION_NOT_FOUND',
        `the canary of model ${this.#options.model} can't end with version ${winner}, which is gone; the other one answers.`,
      );
    });
    this.#pilot.note(outcome, 'command', why);
    return this.status();
  }

  async #changed(edit: (plan: RolloutPlan) => RolloutPlan, what: string): Promise<RolloutStatus> {
    await this.#keeper.change(edit);
    const { model, log } = this.#options;
    log.info({ model, plan: this.#keeper.plan }, `rollout of model ${model} changed: ${what}`);
    return this.status();
  }

  #unknownAlias(alias: string): ServingError {
    const known = [...this.#keeper.routes.keys()].join(', ');
    const { model } = this.#options;
    return new ServingError(
      'VERSION_NOT_FOUND',
      `model ${model} has no alias "${alias.slice(0, MOST_ALIAS_CHARACTERS)}"; ${known === '' ? 'its rollout.yaml declares none' : `it has ${known}`}.`,
    );
  }
}
