import { ServingError } from '../errors.ts';
import type { VersionHost } from './host.ts';
import type { ReadingOptions } from './reading.ts';
import type { CompleteVersion, ModelFolder, VersionFiles } from './repository/version-files.ts';
import { DEFAULT_POLICY, servedVersions, type VersionPolicy } from './repository/version-policy.ts';
import { identityOf, ModelVersion } from './version.ts';

/** A version in its place; `active` is exchanged when its files change. */
interface Slot {
  active: ModelVersion;
  /** Whether the version policy wants it, or the rollout. */
  served: boolean;
  /** Newer files that could not be used; they are not tried again before they change. */
  rejected: { identity: string; why: string } | undefined;
}

/** A version as lists show it. */
export interface PlacedVersion {
  version: ModelVersion;
  served: boolean;
  /** Why the newest files are not in force; empty when they are. */
  problem: string;
}

/** How to bring versions in line with their folder. */
export interface Reconcile {
  /** Load at once, unless a version's own config says otherwise; else on the first request. */
  eager: boolean;
  /** An operator asks: try again what has failed, load what is unloaded, and take what can do less than its forerunner. */
  retry: boolean;
  /** A config in JSON that stands in for the one in the folder. */
  override: string | undefined;
  /** Versions to serve besides those that the version policy wants. */
  alsoServed: readonly number[];
}

/** The versions of one model: what the folder and the version policy ask for, and what still finishes its work. */
export class Versions {
  readonly #host: VersionHost;
  readonly #slots = new Map<number, Slot>();
  /** Replaced or removed, finishing their last requests. */
  readonly #retiring = new Set<ModelVersion>();
  /** What the last failure of each version was about: one that comes again at every look is told once. */
  readonly #told = new Map<number, string>();
  /** The last one that could be read: a broken config must not change what is served. */
  #policy: VersionPolicy = DEFAULT_POLICY;

  constructor(host: VersionHost) {
    this.#host = host;
  }

  /** Lowest first; those that finish their last requests come at the end. */
  get all(): PlacedVersion[] {
    const placed = [...this.#slots.values()].map(({ active, served, rejected }) => ({
      version: active,
      served,
      problem: rejected?.why ?? '',
    }));
    placed.sort((a, b) => a.version.files.version - b.version.files.version);
    return [...placed, ...[...this.#retiring].map((version) => ({ version, served: false, problem: '' }))];
  }

  get(version: number): ModelVersion | undefined {
    return this.#slots.get(version)?.active;
  }

  get numbers(): number[] {
    return [...this.#slots.keys()].sort((a, b) => a - b);
  }

  /** The version that answers when neither request nor rollout names one. */
  get current(): ModelVersion | undefined {
    // Most models have one version, and this is asked for every request.
    const [only] = this.#slots.size === 1 ? this.#slots.values() : [];
    if (only !== undefined) return only.active.state === 'failed' ? undefined : only.active;
    const sound = this.#highestFirst().filter(({ active }) => active.state !== 'failed');
    const found =
      // One that has served may be unloaded for want of memory; an older one must not quietly take its place then.
      sound.find(({ active, served }) => served && active.everReady) ??
      sound.find(({ active }) => active.everReady) ??
      sound.find(({ served }) => served) ??
      sound[0];
    return found?.active;
  }

  /** The highest version that meets a condition. */
  find(condition: (version: ModelVersion) => boolean): ModelVersion | undefined {
    return this.#highestFirst().find(({ active }) => condition(active))?.active;
  }

  /**
   * Loads what is new or has changed; when it is warm, what it replaces finishes its requests and goes. What fails
   * leaves the old one serving.
   * @returns what failed; what has been told before only to an operator who asks
   */
  async reconcile(folder: ModelFolder, how: Reconcile): Promise<ServingError[]> {
    const there = new Map(folder.versions.map((files) => [files.version, files]));
    // A served version whose files are just being written again stays what it is until they are complete.
    const usable = [...there.values()].filter(
      ({ version, complete }) => complete || this.#slots.has(version),
    );
    const numbers = usable.map(({ version }) => version);
    this.#policy = folder.versionPolicy ?? this.#policy;
    const byPolicy = servedVersions(this.#policy, numbers);
    const served = numbers.filter(
      (version) => byPolicy.includes(version) || how.alsoServed.includes(version),
    );
    for (const slot of this.#slots.values()) slot.served = served.includes(slot.active.files.version);
    const inUse = [...this.#slots.values()].some(({ active }) => active.everReady);
    const load = { ...how, inUse };
    const failures: ServingError[] = [];
    const bringUp = async (version: number) => {
      const files = there.get(version)!;
      const failure = files.complete ? await this.#bringUp(files, load) : undefined;
      if (failure === undefined) this.#told.delete(version);
      else if (this.#isNews(files, failure) || how.retry) failures.push(failure);
    };
    for (const version of served) await bringUp(version);
    if (this.#policy.kind === 'latest') {
      // A newest version that can't serve must not take down the model when the server starts again.
      for (const version of numbers.filter((number) => !served.includes(number)).reverse()) {
        if (this.#canServe(there)) break;
        await bringUp(version);
        const slot = this.#slots.get(version);
        if (slot !== undefined) slot.served = false;
      }
    }
    this.#dropUnserved(new Set(there.keys()), load);
    return failures;
  }

  /** Whether something that failed by the death of its workers is worth another try. */
  get mayRecover(): boolean {
    return [...this.#slots.values()].some(({ active }) => active.mayRecover);
  }

  /** Tries that. */
  async recover(): Promise<void> {
    for (const slot of this.#slots.values()) if (slot.active.mayRecover) await this.#retry(slot);
  }

  /** Finishes what runs and gives the memory back; the versions stay known. */
  async unload(versions: readonly number[], why: string): Promise<void> {
    await Promise.all(versions.map((version) => this.#slots.get(version)?.active.unload(why)));
  }

  /** Finishes what runs, unloads and forgets everything. */
  async removeAll(why: string): Promise<void> {
    for (const version of this.numbers) this.#remove(version, why);
    await Promise.all([...this.#retiring].map((version) => version.unload(why)));
  }

  /** Fails what runs. */
  async destroy(reason: ServingError): Promise<void> {
    await Promise.all(this.all.map(({ version }) => version.destroy(reason)));
  }

  #isNews({ version, signature }: VersionFiles, { reason }: ServingError): boolean {
    const what = `${reason} ${signature}`;
    const isNews = this.#told.get(version) !== what;
    this.#told.set(version, what);
    return isNews;
  }

  #highestFirst(): Slot[] {
    return [...this.#slots.values()].sort((a, b) => b.active.files.version - a.active.files.version);
  }

  /** Whether a version that stays can answer; what has left the folder is about to go. */
  #canServe(there: ReadonlyMap<number, unknown>): boolean {
    return [...this.#slots].some(([version, { active }]) => there.has(version) && active.state !== 'failed');
  }

  /** Makes these files the active ones of their version. @returns why that was not possible */
  async #bringUp(
    files: CompleteVersion,
    how: Reconcile & { inUse: boolean },
  ): Promise<ServingError | undefined> {
    const identity = identityOf(files, how.override);
    const slot = this.#slots.get(files.version);
    if (slot?.active.identity === identity) {
      slot.rejected = undefined;
      // What is to take over waits for room while another version serves; no request would ever ask for it. (One that only
      // waits for its first request has no reason to tell.)
      const { state, everReady, reason } = slot.active;
      const isPutOff = how.inUse && state === 'unloaded' && !everReady && reason !== '';
      return how.retry || isPutOff ? this.#retry(slot) : undefined;
    }
    if (slot?.rejected?.identity === identity && !how.retry) return undefined;
    const forerunner = how.inUse && !how.retry ? this.current : undefined;
    const next = new ModelVersion(files, this.#host, {
      override: how.override,
      objection: forerunner && whatItMustDo(files, forerunner),
    });
    // What takes nothing away from anybody is known from now on: lists show it loading, and requests wait for it.
    const takesFreePlace = slot === undefined || slot.active.state === 'failed';
    if (slot === undefined)
      this.#slots.set(files.version, { active: next, served: true, rejected: undefined });
    else if (takesFreePlace) this.#exchange(slot, next);
    const failure = await outcome(async () => {
      const { config } = await next.describe();
      // Where a version is in use, what follows it must be warm, however lazy the model is.
      if (how.inUse || (config.preload ?? how.eager)) await this.#loadBeside(next);
    });
    if (takesFreePlace) return failure;
    if (failure !== undefined) {
      slot.rejected = { identity, why: `its files have changed and can't be used: ${failure.message}` };
      // Room may come by itself, so that is tried again at the next look; so is what was read while it was written.
      if (failure.row.retryable) slot.rejected.identity = '';
      return failure;
    }
    this.#exchange(slot, next);
    return undefined;
  }

  #exchange(slot: Slot, next: ModelVersion): void {
    const old = slot.active;
    Object.assign(slot, { active: next, rejected: undefined });
    this.#retire(old, 'its files have changed');
  }

  async #retry({ active }: Slot): Promise<ServingError | undefined> {
    return outcome(async () => {
      if (active.state === 'failed') await active.unload('');
      await this.#loadBeside(active);
    });
  }

  /** Loads a version; what serves until that one is warm must not be evicted to make room for it. */
  #loadBeside(next: ModelVersion): Promise<void> {
    const { current } = this;
    const serving = [...this.#slots.values()]
      .filter(
        ({ active, served }) => !served || active === current || active.files.version === next.files.version,
      )
      .map(({ active }) => active)
      .filter((active) => active !== next);
    const load = () => next.load();
    return serving.reduce((work, version) => () => version.whilePinned(work), load)();
  }

  /**
   * What the policy no longer wants goes when something else can answer (and, where one has served, is warm); what has left
   * the folder goes in any case, unless a command has brought another folder and nothing of that works.
   */
  #dropUnserved(
    there: ReadonlySet<number>,
    { inUse, retry }: Pick<Reconcile, 'retry'> & { inUse: boolean },
  ): void {
    const replaced = [...this.#slots.values()].some(
      ({ active, served }) => served && active.state !== 'failed' && (active.everReady || !inUse),
    );
    for (const [version, { served }] of this.#slots) {
      if (!there.has(version) && (replaced || !retry)) this.#remove(version, 'its folder is gone');
      else if (!served && replaced) this.#remove(version, 'the version policy has moved on');
    }
  }

  #remove(version: number, why: string): void {
    const slot = this.#slots.get(version);
    if (slot === undefined) return;
    this.#slots.delete(version);
    this.#retire(slot.active, why);
  }

  #retire(version: ModelVersion, why: string): void {
    this.#retiring.add(version);
    void version.retire(why).finally(() => this.#retiring.delete(version));
  }
}

/** What speaks against a version that can do less: whoever uses the model by itself would be left without an answer. */
function whatItMustDo(
  { name, version }: CompleteVersion,
  { description, files: { version: forerunner } }: ModelVersion,
): ReadingOptions['objection'] {
  const wanted = description?.tasks ?? [];
  return ({ tasks }) => {
    const lost = wanted.filter((task) => !tasks.includes(task)).join(' or ');
    if (lost === '') return undefined;
    return `model ${name} version ${version} can't ${lost}, which version ${forerunner} does; if that is meant, load it by command: nereid models load ${name}`;
  };
}

async function outcome(work: () => Promise<void>): Promise<ServingError | undefined> {
  try {
    await work();
    return undefined;
  } catch (thrown) {
    return ServingError.from(thrown);
  }
}
