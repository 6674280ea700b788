import { ServingError } from '../../errors.ts';
import { NO_PLAN } from './plan-changes.ts';
import { problemsOf } from './plan-problems.ts';
import { PlanStore } from './plan-store.ts';
import { versionsOf } from './rollout-schema.ts';
import { compileRoutes, type Route } from './routes.ts';
import type { RolloutPlan, VersionFact } from './status.ts';

export interface PlanKeeperOptions {
  model: string;
  file: string;
  facts: () => readonly VersionFact[];
  readFact?: ((version: number) => Promise<VersionFact>) | undefined;
  /** Called when another plan is in force, with the one before it. */
  onPlan: (plan: RolloutPlan | undefined, before: RolloutPlan | undefined, by: 'file' | 'change') => void;
  /** Called once for each problem. */
  onProblem: (problem: string) => void;
}

/** The plan of one model that is in force, kept equal with rollout.yaml and with the versions that there are. */
export class PlanKeeper {
  readonly #options: PlanKeeperOptions;
  readonly #store: PlanStore;
  #plan: RolloutPlan | undefined;
  #routes: ReadonlyMap<string, Route> = new Map();
  #versions: ReadonlySet<number> = new Set();
  /** What is known of the versions in `same_space`, by version; those that have gone are kept. */
  readonly #claims = new Map<number, VersionFact>();
  /** The versions as they were when the plan was last looked at, to see that they changed. */
  #factsSeen: string | undefined;
  #problem = '';
  /** Reads and writes of the file, one after another. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: PlanKeeperOptions) {
    this.#options = options;
    this.#store = new PlanStore(options.file);
  }

  get plan(): RolloutPlan | undefined {
    return this.#plan;
  }

  get routes(): ReadonlyMap<string, Route> {
    return this.#routes;
  }

  /**
   * The versions that share a space by the operator's claim, with their own spaces. A claim outlives the version whose
   * space it told: what was filled under that space must not be lost when only its successors are served.
   */
  get claims(): readonly VersionFact[] {
    return [...this.#claims.values()];
  }

  /** Why rollout.yaml, or a part of it, is not in force; empty when all is. */
  get problem(): string {
    return this.#problem;
  }

  /** Settles with the last read or write that has been asked for; never rejects. */
  get settled(): Promise<unknown> {
    return this.#queue;
  }

  exists(version: number): boolean {
    return this.#versions.has(version);
  }

  /**
   * Takes over what the file says and which versions there are. A plan that is wrong leaves the one in force; when
   * there is none, its right parts come into force, so that a restart does not lose all traffic to one lost version.
   */
  reload(): Promise<void> {
    return this.#enqueue(async () => {
      await this.#sync();
    });
  }

  /**
   * Writes an edited plan to the file and puts it in force. Problems that the plan had before do not stand in the way.
   * @param edit makes the new plan from the file's; undefined: leave it; what it throws is thrown
   * @returns whether there was something to change
   * @throws ServingError VERSION_NOT_FOUND or SPACE_MISMATCH for what does not fit the versions; MODEL_CONFIG_INVALID
   * when the file was edited meanwhile or is not understood; INTERNAL when it can't be written
   */
  change(edit: (plan: RolloutPlan) => RolloutPlan | undefined): Promise<boolean> {
    return this.#enqueue(async () => {
      const first = this.#factsSeen === undefined;
      if ((await this.#sync()) && !first) {
        throw new ServingError(
          'MODEL_CONFIG_INVALID',
          `${this.#options.file} was edited meanwhile and is not overwritten; look at the rollout's status and try again.${this.#problem && ` ${this.#problem}`}`,
        );
      }
      const facts = this.#options.facts();
      const current = this.#store.plan ?? NO_PLAN;
      const next = edit(current);
      if (next === undefined) return false;
      const known = new Set(problemsOf(current, facts).map(({ message }) => message));
      // Spaces that would clash must not become known only when the change is made.
      const read = await this.#readUnknown(next, facts);
      const fresh = problemsOf(next, read).filter(({ message }) => !known.has(message));
      if (fresh.length > 0) {
        const told = fresh.map(({ message }) => message).join('; ');
        throw new ServingError(fresh[0]!.reason, `model ${this.#options.model}: ${told}.`);
      }
      await this.#store.save(next);
      this.#tell(next, facts);
      await this.#learnClaims(next, facts);
      this.#apply(next, facts, 'change');
      return true;
    });
  }

  /** @returns whether the file is another one than before */
  async #sync(): Promise<boolean> {
    const changed = await this.#store.refresh();
    const facts = this.#options.facts();
    const seen = JSON.stringify(
      facts.map(({ version, space, makesVectors }) => [version, space, makesVectors]),
    );
    if (!changed && seen === this.#factsSeen) return false;
    this.#factsSeen = seen;
    const wanted = this.#store.plan;
    if (wanted !== undefined) await this.#learnClaims(wanted, facts);
    const fits = this.#tell(wanted, facts);
    this.#apply(fits || this.#plan === undefined ? wanted : this.#plan, facts, 'file');
    return changed;
  }

  async #learnClaims(plan: RolloutPlan, facts: readonly VersionFact[]): Promise<void> {
    const isClaimed = ({ version }: VersionFact) => plan.sameSpace.includes(version);
    for (const fact of this.claims) if (!isClaimed(fact)) this.#claims.delete(fact.version);
    for (const fact of await this.#readUnknown(plan, facts.filter(isClaimed)))
      if (fact.space !== '') this.#claims.set(fact.version, fact);
  }

  /** The facts, where those of versions that a plan gives requests to and that aren't known yet are read from their files. */
  #readUnknown(plan: RolloutPlan, facts: readonly VersionFact[]): Promise<VersionFact[]> {
    const { readFact } = this.#options;
    const wanted = new Set([...Object.values(plan.aliases).flatMap(versionsOf), ...plan.sameSpace]);
    if (plan.canary !== undefined) wanted.add(plan.canary.from).add(plan.canary.to);
    const readOne = async (fact: VersionFact) => {
      if (readFact === undefined || fact.space !== '' || !wanted.has(fact.version)) return fact;
      // What can't be read can't be loaded either, and says so then.
      return readFact(fact.version).catch(() => fact);
    };
    return Promise.all(facts.map(readOne));
  }

  /** Says what is wrong with a plan, if it is something new. */
  #tell(plan: RolloutPlan | undefined, facts: readonly VersionFact[]): boolean {
    const unfit = plan === undefined ? [] : problemsOf(plan, facts).map(({ message }) => message);
    const problem = [this.#store.problem, ...unfit].filter((part) => part !== '').join('; ');
    const isNew = problem !== this.#problem;
    this.#problem = problem;
    if (isNew && problem !== '') this.#options.onProblem(problem);
    return unfit.length === 0;
  }

  #apply(plan: RolloutPlan | undefined, facts: readonly VersionFact[], by: 'file' | 'change'): void {
    const before = this.#plan;
    this.#plan = plan;
    this.#versions = new Set(facts.map(({ version }) => version));
    this.#routes = plan === undefined ? new Map() : compileRoutes(plan, facts, this.#options.model);
    if (plan !== before) this.#options.onPlan(plan, before, by);
  }

  #enqueue<T>(task: () => Promise<T>): Promise<T> {
    const run = this.#queue.then(task);
    this.#queue = run.catch(() => undefined);
    return run;
  }
}
