import { ServingError } from '../errors.ts';
import { type Description, describe } from './describe.ts';
import type { CompleteVersion } from './repository/version-files.ts';

export interface ReadingOptions {
  /** A config in JSON that stands in for the one of the folder. */
  override?: string | undefined;
  /** Why what the files say keeps their version from being loaded. */
  objection?: ((description: Description) => string | undefined) | undefined;
}

/** What the files of a version say, read once. */
export class Reading {
  readonly #override: string | undefined;
  readonly #files: CompleteVersion;
  #objection: ReadingOptions['objection'];
  #underWay: Promise<Description> | undefined;
  #known: Description | undefined;

  constructor(files: CompleteVersion, { override, objection }: ReadingOptions) {
    this.#files = files;
    this.#override = override;
    this.#objection = objection;
  }

  /** Undefined before it has been read, or when that failed. */
  get known(): Description | undefined {
    return this.#known;
  }

  /** @throws ServingError MODEL_CONFIG_INVALID, or MODEL_LOAD_FAILED for an objection */
  async read(): Promise<Description> {
    this.#underWay ??= describe(this.#files, this.#override);
    const reading = this.#underWay;
    try {
      this.#known = await reading;
    } catch (thrown) {
      // A disk may have failed for a moment; another try reads again.
      if (this.#underWay === reading) this.#underWay = undefined;
      throw thrown;
    }
    const why = this.#objection?.(this.#known);
    if (why !== undefined) throw new ServingError('MODEL_LOAD_FAILED', why);
    return this.#known;
  }

  /** From now on nothing is held against what the files say. */
  overrule(): void {
    this.#objection = undefined;
  }
}
