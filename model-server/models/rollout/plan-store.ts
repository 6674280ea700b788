import { ServingError } from '../../errors.ts';
import { planIn, readRolloutText, replaceRollout } from './rollout-file.ts';
import { renderRollout } from './rollout-text.ts';
import type { RolloutPlan } from './status.ts';

/**
 * A model's rollout.yaml as it was last seen, and the guard against overwriting what an operator has written since.
 * Its text is its signature: the file is small, and times miss a second edit within one tick of the system's clock.
 */
export class PlanStore {
  readonly #file: string;
  #text: string | undefined;
  #plan: RolloutPlan | undefined;
  #problem = '';

  constructor(file: string) {
    this.#file = file;
  }

  /** The last good plan of the file; undefined when there is no file. */
  get plan(): RolloutPlan | undefined {
    return this.#plan;
  }

  /** Why the file can't be understood; empty when it can. */
  get problem(): string {
    return this.#problem;
  }

  /**
   * Reads the file. A bad one leaves the last good plan and sets `problem`; nothing is thrown.
   * @returns whether it is another one than before
   */
  async refresh(): Promise<boolean> {
    let text: string | undefined;
    let problem = '';
    try {
      text = await readRolloutText(this.#file);
      if (text === this.#text && this.#problem === '') return false;
      this.#plan = text === undefined ? undefined : planIn(text);
    } catch (error) {
      problem = (error as Error).message;
    }
    const changed = text !== this.#text || problem !== this.#problem;
    this.#text = text;
    this.#problem = problem;
    return changed;
  }

  /**
   * Replaces the file.
   * @throws ServingError MODEL_CONFIG_INVALID when it can't be understood as it is, INTERNAL when it can't be written;
   * the file and `plan` then stay
   */
  async save(plan: RolloutPlan): Promise<void> {
    if (this.#problem !== '') {
      throw new ServingError(
        'MODEL_CONFIG_INVALID',
        `${this.#file} is not overwritten, for what it says now is not understood; correct or remove it first. ${this.#problem}`,
      );
    }
    const text = renderRollout(plan, this.#text ?? '');
    await replaceRollout(this.#file, text);
    this.#text = text;
    this.#plan = plan;
  }
}
