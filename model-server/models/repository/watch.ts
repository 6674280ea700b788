import { setTimeout as sleep } from 'node:timers/promises';
import { KnownFacts } from './known-facts.ts';
import { scanModel, scanRepository } from './scan.ts';
import type { ModelFolder, VersionFiles } from './version-files.ts';

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
 * files.
 */
export class RepositoryWatch {
  readonly #repository: string;
  readonly #quietMs: number;
  readonly #nowMs: () => number;
  readonly #pause: (delayMs: number) => Promise<void>;
  readonly #facts = new KnownFacts();
  /** Signatures of the last look by folder; undefined before the first. */
  #last: ReadonlyMap<string, string> | undefined;
  #looking: Promise<ModelFolder[]> | undefined;

  constructor(repository: string, { quietMs = 1000, nowMs = Date.now, pause = sleep }: WatchOptions = {}) {
    this.#repository = repository;
    this.#quietMs = quietMs;
    this.#nowMs = nowMs;
    this.#pause = pause;
  }

  /**
   * The models as they are now, by name. The first look takes another one, `quietMs` later, when files have just changed.
   * Looks at the same time are one.
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
    const found = await scanRepository(this.#repository, { facts: this.#facts });
    this.#facts.forgetUnused();
    const now = this.#nowMs();
    const before = this.#last;
    this.#last = new Map(
      found.flatMap(({ versions }) => versions.map((it) => [it.versionFolder, it.signature])),
    );
    const hasSettled = (files: VersionFiles) =>
      before === undefined
        ? now - files.changedMs >= this.#quietMs
        : before.get(files.versionFolder) === files.signature;
    return found.map((model) => ({
      ...model,
      versions: model.versions.map((files) =>
        !files.complete || hasSettled(files) ? files : { ...files, complete: false, why: UNSETTLED },
      ),
    }));
  }
}

const UNSETTLED = 'its files have just changed; it is loaded when they are the same at the next look';

const isUnsettled = (files: VersionFiles) => !files.complete && files.why === UNSETTLED;
