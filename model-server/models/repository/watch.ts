import { setTimeout as sleep } from 'node:timers/promises';
import { KnownFacts } from './known-facts.ts';
import { scanModel, scanRepository } from './scan.ts';
import type { IncompleteVersion, ModelFolder, VersionFiles } from './version-files.ts';

export interface WatchOptions {
  /** At the first look, files that have not changed for this long count as finished. 1000 unless told. */
  quietMs?: number;
  /** Milliseconds since the epoch. */
  nowMs?: () => number;
  /** How to wait between the first look and its repetition, when files have just changed. */
  pause?: (delayMs: number) => Promise<void>;
}

/**
 * Looks at a repository folder again and again. A version is told as complete only when it has settled: when it was the
 * same at the look before. So a version that is still being copied is not loaded, however whole it seems between two
 * files. One that is gone is told once more, as incomplete: who replaces a folder by renaming leaves none for a moment.
 */
export class RepositoryWatch {
  readonly #repository: string;
  readonly #quietMs: number;
  readonly #nowMs: () => number;
  readonly #pause: (delayMs: number) => Promise<void>;
  readonly #facts = new KnownFacts();
  /** What was there at the last look; undefined before the first. */
  #last: readonly ModelFolder[] | undefined;
  #looking: Promise<ModelFolder[]> | undefined;

  constructor(repository: string, { quietMs = 1000, nowMs = Date.now, pause = sleep }: WatchOptions = {}) {
    this.#repository = repository;
    this.#quietMs = quietMs;
    this.#nowMs = nowMs;
    this.#pause = pause;
  }

  /**
   * The models as they are now, by name; one whose folder can't be read stays as it was. The first look takes another
   * one, `quietMs` later, when files have just changed. Looks at the same time are one.
   * @throws ServingError MODEL_CONFIG_INVALID when the repository folder does not exist
   */
  look(): Promise<ModelFolder[]> {
    this.#looking ??= this.#lookOnce().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /**
   * One model as it is now, undefined when there is none of that name. Whoever asks for it by name vouches that it is
   * finished, so complete versions are told as such at once. `override` is a Triton configuration in JSON that stands in for
   * the model's file.
   */
  lookAt(name: string, override?: string): Promise<ModelFolder | undefined> {
    return scanModel(this.#repository, name, { facts: this.#facts, override });
  }

  async #lookOnce(): Promise<ModelFolder[]> {
    const isFirst = this.#last === undefined;
    const models = await this.#scan();
    const isMoving = models.some((model) => model.versions.some((files) => isUnsettled(files)));
    if (!isFirst || !isMoving) return models;
    await this.#pause(this.#quietMs);
    return this.#scan();
  }

  async #scan(): Promise<ModelFolder[]> {
    const scanned = await scanRepository(this.#repository, { facts: this.#facts });
    this.#facts.forgetUnused();
    const before = this.#last;
    // A disk that fails for a moment must not take away what is served from memory.
    const found = scanned.map((model) => {
      const known = before?.find(({ name }) => name === model.name);
      if (known === undefined) return model;
      const { problems } = model;
      return model.signature === '' ? { ...known, problems } : withUnread(model, known);
    });
    this.#last = found;
    const signatures = before && signaturesOf(before);
    return withGone(
      found.map((model) => this.#settled(model, signatures)),
      before ?? [],
    );
  }

  #settled(model: ModelFolder, before: ReadonlyMap<string, string> | undefined): ModelFolder {
    const hasSettled = (files: VersionFiles) =>
      before === undefined
        ? this.#nowMs() - files.changedMs >= this.#quietMs
        : before.get(files.versionFolder) === files.signature;
    return {
      ...model,
      versions: model.versions.map((files) =>
        !files.complete || hasSettled(files) ? files : incomplete(files, UNSETTLED),
      ),
    };
  }
}

const signaturesOf = (models: readonly ModelFolder[]): ReadonlyMap<string, string> =>
  new Map(models.flatMap(({ versions }) => versions.map((files) => [files.versionFolder, files.signature])));

const UNSETTLED = 'its files have just changed; it is loaded when they are the same at the next look';

const isUnsettled = (files: VersionFiles) => !files.complete && files.why === UNSETTLED;

const GONE = 'its folder is gone; it is given up when that is so at the next look too';

const incomplete = (files: VersionFiles, why: string): IncompleteVersion => ({
  ...files,
  complete: false,
  why,
});

/** Versions that can't be read now are told as they were. */
function withUnread(model: ModelFolder, known: ModelFolder): ModelFolder {
  const asKnown = (files: VersionFiles) => {
    const before = known.versions.find(({ version }) => version === files.version);
    return files.signature === '' && before !== undefined ? before : files;
  };
  return { ...model, versions: model.versions.map(asKnown) };
}

/** The models that are there, and with them what only the look before has seen. */
function withGone(found: readonly ModelFolder[], before: readonly ModelFolder[]): ModelFolder[] {
  const all = new Map(found.map((model) => [model.name, model]));
  for (const was of before) {
    const now = all.get(was.name) ?? { ...was, versions: [] };
    const numbers = now.versions.map(({ version }) => version);
    const gone = was.versions.filter(({ version }) => !numbers.includes(version));
    if (gone.length === 0) continue;
    const versions = [...now.versions, ...gone.map((files) => incomplete(files, GONE))];
    all.set(was.name, { ...now, versions: versions.sort((a, b) => a.version - b.version) });
  }
  return [...all.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}
