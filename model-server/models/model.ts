import { join } from 'node:path';
import { ServingError } from '../errors.ts';
import type { VersionHost } from './host.ts';
import { inSpace } from './in-space.ts';
import { namedVersions } from './named-versions.ts';
import { orAborted } from './or-aborted.ts';
import type { ModelFolder } from './repository/version-files.ts';
import { Rollout } from './rollout/rollout.ts';
import type { RolloutPlan } from './rollout/status.ts';
import type { Target, Task } from './target.ts';
import type { Lease, ModelVersion } from './version.ts';
import { readFact, usability, versionFacts } from './version-facts.ts';
import { type PlacedVersion, type Reconcile, Versions } from './versions.ts';
import { notReady } from './why-none-serves.ts';

export interface ModelOptions {
  host: VersionHost;
  /** Whether versions are loaded when they appear, or on their first request. */
  eager: boolean;
  /** Whether it is served before anybody loads it by command. */
  wanted: boolean;
}

export interface LoadCommand {
  /** A config in JSON that stands in for the folder's, until the next load by command. */
  override?: string | undefined;
  /** The folder came with the command; the repository's own does not count until the next load by command. */
  isPinned?: boolean;
}

/** What its versions are made of. */
type Origin = Required<LoadCommand> & { folder: ModelFolder };

/** One model: decides which of its versions answers, and takes commands and changes of its folder one after the other. */
export class Model {
  readonly name: string;
  readonly rollout: Rollout;
  readonly #eager: boolean;
  readonly #versions: Versions;
  #work: Promise<unknown> = Promise.resolve();
  #wanted: boolean;
  #draining = false;
  /** Why it is gone for good. */
  #closed: ServingError | undefined;
  #plan: RolloutPlan | undefined;
  #origin: Origin;
  #applying: Promise<ServingError[]> | undefined;

  constructor(folder: ModelFolder, { host, eager, wanted }: ModelOptions) {
    this.name = folder.name;
    this.#origin = { folder, isPinned: false, override: undefined };
    this.#eager = eager;
    this.#wanted = wanted;
    this.#versions = new Versions(host);
    this.rollout = new Rollout({
      model: folder.name,
      file: join(folder.folder, 'rollout.yaml'),
      nowMs: Date.now,
      log: host.log,
      facts: () => versionFacts(this.folder, (version) => this.#versions.get(version)),
      readFact: (version) => readFact(this.folder, version, this.#origin.override),
      // A plan may name versions that the policy would leave out, or need some no longer.
      onPlan: (plan) => {
        this.#plan = plan;
        void this.#bringInLine();
      },
    });
  }

  /** Whether requests may load it; false after an unload by command. */
  get wanted(): boolean {
    return this.#wanted;
  }

  /** Whether it is served from files that came with a command. */
  get isPinned(): boolean {
    return this.#origin.isPinned;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** The folder as it was last looked at. */
  get folder(): ModelFolder {
    return this.#origin.folder;
  }

  get versions(): PlacedVersion[] {
    return this.#versions.all;
  }

  /** The version that answers when neither request nor rollout names one. */
  get current(): ModelVersion | undefined {
    return this.#versions.current;
  }

  /** What its current version can do, loaded or not. */
  get tasks(): readonly Task[] {
    return (this.#wanted ? this.current?.description?.tasks : undefined) ?? [];
  }

  /** Whether a request would be answered, perhaps after a load. */
  get ready(): boolean {
    if (!this.#wanted) return true;
    const { current } = this;
    if (current === undefined || this.#draining || current.isImpaired) return false;
    const isEager = current.description?.config.preload ?? this.#eager;
    if (current.everReady || !isEager) return true;
    // Without a reason it is unloaded only because its load has not begun yet.
    return current.state !== 'loading' && !(current.state === 'unloaded' && current.reason === '');
  }

  /** Why no request could be answered although it is to be served; undefined when one could. */
  get shortcoming(): ServingError | undefined {
    if (!this.#wanted || this.current !== undefined) return undefined;
    return notReady(this.folder, this.versions);
  }

  /** Brings it in line with its folder; of changes that come while it is at work only the newest counts. @returns what failed */
  apply(folder: ModelFolder): Promise<ServingError[]> {
    if (this.#origin.isPinned) return Promise.resolve([]);
    // A configuration that came with a command goes on to say which versions are served.
    const { versionPolicy } = this.#origin.override === undefined ? folder : this.folder;
    this.#origin = { ...this.#origin, folder: { ...folder, versionPolicy } };
    return this.#bringInLine();
  }

  /**
   * Loads by command: what has failed is tried again, and what is unloaded is loaded. Commands count in their order, so
   * the folder is looked at in turn, too. @returns what failed
   * @throws what the look throws, and ServingError when the model has gone meanwhile
   */
  load(
    look: () => Promise<ModelFolder>,
    { override, isPinned: isBrought = false }: LoadCommand = {},
  ): Promise<ServingError[]> {
    return this.#inTurn(async () => {
      const folder = await look();
      if (this.#closed !== undefined) throw this.#closed;
      const { current } = this;
      const before = this.#origin;
      const isPinned = isBrought || (before.isPinned && folder === before.folder);
      this.#origin = { folder, isPinned, override };
      this.#wanted = true;
      this.#draining = false;
      const failures = await this.#reconcile(folder, { eager: true, retry: true });
      const { shortcoming } = this;
      if (failures.length === 0 && shortcoming !== undefined) failures.push(shortcoming);
      // What came with a command that changed nothing must not go on to stand in for the repository.
      const isTaken = failures.length === 0 || (this.current !== undefined && this.current !== current);
      if (!isTaken) this.#origin = before;
      return failures;
    });
  }

  /**
   * Finishes what runs and gives the memory back. Without a version all go, and requests do not load them again.
   * @throws ServingError VERSION_NOT_FOUND
   */
  async unload(version?: number): Promise<void> {
    if (version === undefined) this.#wanted = false;
    else this.#known(version);
    await this.#inTurn(() => {
      // Once more: a load that came before this may have wanted it since.
      if (version === undefined) this.#wanted = false;
      const which = version === undefined ? this.#versions.numbers : [version];
      return this.#versions.unload(which, 'unloaded by command');
    });
  }

  /** Tries again what has failed by the death of its workers, when its pause is over. */
  recover(): void {
    if (this.#wanted && this.#versions.mayRecover) void this.#inTurn(() => this.#versions.recover());
  }

  /** Takes no requests any more, or does so again; nothing is unloaded. */
  drain(resume: boolean): void {
    this.#draining = !resume;
  }

  /** Finishes what runs and unloads everything, for good. */
  async close(why: string): Promise<void> {
    this.#closed ??= new ServingError('MODEL_NOT_READY', `model ${this.name} is unloaded: ${why}.`);
    this.#wanted = false;
    await this.#inTurn(() => this.#versions.removeAll(why));
    await this.rollout.close();
  }

  /** Fails what runs and unloads everything, for good. */
  async destroy(reason: ServingError): Promise<void> {
    this.#closed = reason;
    this.#wanted = false;
    await Promise.all([this.#versions.destroy(reason), this.rollout.close()]);
    // What was being put in place has failed by the host's signal.
    await this.#work;
  }

  /**
   * A hold on the version that is to answer; it is loaded if it is not.
   * @throws ServingError VERSION_NOT_FOUND, MODEL_NOT_READY, MODEL_DRAINING, SPACE_MISMATCH, MODEL_LOAD_FAILED,
   * MEMORY_BUDGET_EXCEEDED
   * @param caller its signal is only looked at when there is something to wait for: making one costs more than the rest
   */
  async acquire(target: Target, caller: { signal?: AbortSignal | undefined } = {}): Promise<Lease> {
    const refused = new Map<ModelVersion, unknown>();
    for (let turn = 0; ; turn++) {
      const version = this.#choose(target);
      if (version === undefined) {
        if (turn > 0) throw notReady(this.folder, this.versions);
        await orAborted(this.#work, caller.signal);
        continue;
      }
      const lease = version.tryLease();
      if (lease !== undefined) return lease;
      // Nothing is loaded for a caller who has gone already.
      caller.signal?.throwIfAborted();
      // The same one again means that no other version of the alias is in memory.
      if (refused.has(version)) throw refused.get(version);
      await orAborted(version.load(), caller.signal).catch((error: unknown) => {
        if (target.version > 0 || !version.isPutOff) throw error;
        refused.set(version, error);
      });
    }
  }

  /** The space that a version's vectors are told to be of: its own, or the one that rollout.yaml claims for it. */
  spaceOf(version: ModelVersion): string {
    const own = version.description?.space ?? '';
    return own === '' ? '' : this.rollout.claimedSpace(version.files.version, own);
  }

  /** The version that is to answer; undefined while the one that the rollout means is only being put in place. */
  #choose(target: Target): ModelVersion | undefined {
    this.#refuseWhenDown();
    const number = target.version || this.#byRollout(target);
    if (target.version === 0 && number !== undefined && this.#versions.get(number) === undefined) return;
    const meant = number === undefined ? this.current : this.#known(number);
    const chosen = inSpace(meant, target, {
      spaceOf: (version) => this.spaceOf(version),
      find: (condition) => this.#versions.find(condition),
    });
    if (chosen !== undefined && chosen.state !== 'failed') return chosen;
    throw notReady(this.folder, this.versions, chosen);
  }

  #refuseWhenDown(): void {
    if (this.#closed !== undefined) throw this.#closed;
    if (!this.#wanted) {
      const message = `model ${this.name} is unloaded. Load it with: nereid models load ${this.name}`;
      throw new ServingError('MODEL_NOT_READY', message);
    }
    if (this.#draining) {
      throw new ServingError('MODEL_DRAINING', `model ${this.name} is drained and takes no requests.`, {
        retryAfterMs: 1000,
      });
    }
  }

  #bringInLine(): Promise<ServingError[]> {
    this.#applying ??= this.#inTurn(async () => {
      this.#applying = undefined;
      return this.#wanted ? this.#reconcile(this.folder, { eager: this.#eager, retry: false }) : [];
    });
    return this.#applying;
  }

  async #reconcile(folder: ModelFolder, how: Pick<Reconcile, 'eager' | 'retry'>): Promise<ServingError[]> {
    await this.rollout.reload();
    const alsoServed = this.#plan === undefined ? [] : namedVersions(this.#plan);
    const failures = await this.#versions.reconcile(folder, {
      ...how,
      alsoServed,
      override: this.#origin.override,
    });
    // What the versions' files say of their spaces is known only now.
    await this.rollout.reload();
    return failures;
  }

  #byRollout({ alias, stickyKey }: Target): number | undefined {
    return this.rollout.choose({ alias, key: stickyKey }, (version) =>
      usability(this.#versions.get(version)),
    );
  }

  #known(version: number): ModelVersion {
    const found = this.#versions.get(version);
    if (found !== undefined) return found;
    const numbers = this.#versions.numbers.join(', ') || 'none';
    const message = `model ${this.name} has no version ${version}; served are: ${numbers}.`;
    throw new ServingError('VERSION_NOT_FOUND', message);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#work.then(work);
    this.#work = next.catch(() => undefined);
    return next;
  }
}
