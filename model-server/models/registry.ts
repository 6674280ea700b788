import { ServingError } from '../errors.ts';
import type { ModelDefaults, ModelObserver } from './load.ts';
import { Model, type Task } from './model.ts';
import { scanRepository } from './repository.ts';

export interface RegistryOptions {
  repository: string;
  defaults: ModelDefaults;
  /** Where a model version tells what it does. */
  observe?: ((name: string, version: number) => ModelObserver) | undefined;
}

/** The models of the repository, by name and version. */
export class Registry {
  readonly #options: RegistryOptions;
  #models: Model[] = [];

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  /**
   * Loads every model of the repository. A model that fails is listed as failed, with the reason, and does not stop
   * the others.
   * @returns the failures
   * @throws ServingError MODEL_CONFIG_INVALID when there is no repository or no model in it
   */
  async load(): Promise<ServingError[]> {
    const { repository, defaults, observe } = this.#options;
    const folders = scanRepository(repository);
    if (folders.length === 0) {
      throw new ServingError(
        'MODEL_CONFIG_INVALID',
        `the model repository ${repository} holds no model; one looks like <name>/<version>/model.onnx, for example all-minilm-l6-v2/1/model.onnx.`,
      );
    }
    this.#models = folders.map(
      (folder) => new Model(folder, defaults, observe?.(folder.name, folder.version)),
    );
    const outcomes = await Promise.allSettled(this.#models.map((model) => model.load()));
    return outcomes.flatMap((outcome) =>
      outcome.status === 'rejected' ? [ServingError.from(outcome.reason)] : [],
    );
  }

  get models(): readonly Model[] {
    return this.#models;
  }

  /** Whether every model is ready. */
  get ready(): boolean {
    return this.#models.length > 0 && this.#models.every((model) => model.state === 'ready');
  }

  /**
   * The model that a request means.
   * @param name empty: the only one that can do the task (for rerank, a cross-encoder is preferred)
   * @param version 0: the one that is served
   * @throws ServingError MODEL_NOT_FOUND, VERSION_NOT_FOUND, INVALID_INPUT, MODEL_NOT_READY
   */
  resolve(name: string, version: number, task: Task): Model {
    const model = name === '' ? this.#only(task) : this.#named(name);
    if (version !== 0 && model.folder.version !== version) {
      throw new ServingError(
        'VERSION_NOT_FOUND',
        `model ${model.folder.name} has no version ${version}; version ${model.folder.version} is served.`,
      );
    }
    return model;
  }

  /** Finishes what runs and unloads everything. */
  async close(): Promise<void> {
    await Promise.all(this.#models.map((model) => model.close()));
  }

  /** Fails what runs and unloads everything. */
  async destroy(): Promise<void> {
    const reason = new ServingError('SERVER_STOPPING', 'The server is stopping.', { retryAfterMs: 1000 });
    await Promise.all(this.#models.map((model) => model.destroy(reason)));
  }

  #named(name: string): Model {
    const model = this.#models.find((candidate) => candidate.folder.name === name);
    if (model !== undefined) return model;
    throw new ServingError(
      'MODEL_NOT_FOUND',
      `there is no model "${name}" in the repository; it has ${this.#names()}.`,
    );
  }

  #only(task: Task): Model {
    const able = this.#models.filter((model) => model.tasks.includes(task));
    const crossEncoders = able.filter((model) => model.scoreKind === 'cross_encoder');
    const candidates = crossEncoders.length > 0 ? crossEncoders : able;
    if (candidates.length === 1) return candidates[0]!;
    if (candidates.length === 0 && this.#models.some((model) => model.state !== 'ready')) {
      throw new ServingError('MODEL_NOT_READY', `no model that can ${task} is ready yet.`, {
        retryAfterMs: 1000,
      });
    }
    if (candidates.length === 0) {
      throw new ServingError(
        'MODEL_NOT_FOUND',
        `no model in the repository can ${task}; it has ${this.#names()}.`,
      );
    }
    const names = candidates.map((model) => model.folder.name).join(', ');
    throw new ServingError(
      'INVALID_INPUT',
      `several models can ${task} (${names}); say which one in "model".`,
    );
  }

  #names(): string {
    return this.#models.map((model) => model.folder.name).join(', ');
  }
}
