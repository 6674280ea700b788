import { ServingError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { VersionHost } from './host.ts';
import { Model } from './model.ts';
import type { ModelFolder } from './repository/version-files.ts';
import type { RepositoryWatch } from './repository/watch.ts';
import type { Target } from './target.ts';
import type { Lease } from './version.ts';

export type ControlMode = 'none' | 'poll' | 'explicit';
/** Names of models, or all of them. */
export type Names = 'all' | ReadonlySet<string>;

export interface RegistryOptions {
  mode: ControlMode;
  /** In explicit mode: what is served from the start. */
  loadModels: Names;
  /** What is loaded at once; the rest is loaded by its first request. */
  preload: Names;
  watch: RepositoryWatch;
  host: VersionHost;
  log: Log;
}

/** A hold on a version, with the model it belongs to. */
export interface ModelLease extends Lease {
  readonly model: Model;
}

/** The models of the repository by name: which there are, and which one a request means. */
export class Registry {
  readonly #options: RegistryOptions;
  readonly #models = new Map<string, Model>();
  /** Their folders have gone, and they finish their last requests. */
  readonly #leaving = new Set<Model>();
  #hasLooked = false;
  #closed = false;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  get mode(): ControlMode {
    return this.#options.mode;
  }

  get models(): readonly Model[] {
    return [...this.#models.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Whether there are models and each could answer a request; in explicit mode nothing is served before it is loaded. */
  get ready(): boolean {
    const isServing = this.#models.size > 0 || this.mode === 'explicit';
    return this.#hasLooked && isServing && this.models.every((model) => model.ready);
  }

  /** What should be served and can't be, though nothing of it has failed: models that are incomplete, or not there. */
  get shortcomings(): ServingError[] {
    const { mode, loadModels, preload } = this.#options;
    const named = [...(mode === 'explicit' ? [loadModels] : []), preload].flatMap((names) =>
      names === 'all' ? [] : [...names],
    );
    const unknown = [...new Set(named)].filter((name) => !this.#models.has(name));
    const lacking = this.models.flatMap(({ versions, shortcoming }) =>
      versions.length > 0 || shortcoming === undefined ? [] : [shortcoming],
    );
    return [...unknown.map((name) => this.#unknown(name)), ...lacking];
  }

  /**
   * Looks at the repository: new models come, changed ones change over, those whose folder has gone finish and go.
   * @param onFailure told of what fails; with it the call does not wait until all is loaded
   * @returns without `onFailure`, when all is done: what failed. A model that fails does not stop the others
   * @throws ServingError MODEL_CONFIG_INVALID when the repository can't be read; then everything stays as it is
   */
  async look(onFailure?: (failure: ServingError) => void): Promise<ServingError[]> {
    const folders = await this.#options.watch.look();
    if (this.#closed) return [];
    this.#hasLooked = true;
    const names = new Set(folders.map(({ name }) => name));
    for (const model of this.models) if (!names.has(model.name) && !model.isPinned) this.#drop(model);
    const outcomes = folders.map((folder) =>
      (this.#models.get(folder.name) ?? this.#add(folder)).apply(folder),
    );
    if (onFailure === undefined) return (await Promise.all(outcomes)).flat();
    for (const outcome of outcomes) void outcome.then((failures) => failures.forEach(onFailure));
    return [];
  }

  /** Tries again what has failed by the death of its workers. */
  recover(): void {
    for (const model of this.models) model.recover();
  }

  /** Reads the rollout files that have changed. */
  async reloadRollouts(): Promise<void> {
    await Promise.all(this.models.map((model) => model.rollout.reload()));
  }

  /** @throws ServingError MODEL_NOT_FOUND; MODEL_NOT_READY while nobody knows yet which models there are */
  model(name: string): Model {
    const model = this.#models.get(name);
    if (model !== undefined) return model;
    if (this.#hasLooked) throw this.#unknown(name);
    const message = `the server starts and has not read its model repository yet, so that it does not know model "${name.slice(0, 64)}".`;
    throw new ServingError('MODEL_NOT_READY', message, { retryAfterMs: 1000 });
  }

  /**
   * Loads a model by command: its folder is looked at anew, and what has failed is tried again.
   * @param command `folder`: with files that came with the command, instead of the repository's
   * @returns what failed
   * @throws ServingError MODEL_NOT_FOUND, SERVER_STOPPING
   */
  async load(
    name: string,
    { override, folder: brought }: { override?: string | undefined; folder?: ModelFolder | undefined } = {},
  ): Promise<ServingError[]> {
    const look = async () => brought ?? (await this.#options.watch.lookAt(name, override));
    // Only what is new is looked at before its turn: there is nobody else's turn.
    const folder = this.#models.has(name) ? undefined : await look();
    if (this.#closed) throw stopping();
    const model = this.#models.get(name) ?? (folder && this.#add(folder));
    if (model === undefined) throw this.#unknown(name);
    const again = async () => {
      // What came with a command and is nowhere else is loaded again from there.
      const found = folder ?? (await look()) ?? (model.isPinned ? model.folder : undefined);
      if (found !== undefined) return found;
      const message = `the folder of model ${name} is gone from the repository; what is loaded of it stays.`;
      throw new ServingError('MODEL_NOT_FOUND', message);
    };
    return model.load(again, { override, isPinned: brought !== undefined });
  }

  /** The model that a request means. @throws ServingError MODEL_NOT_FOUND, INVALID_INPUT, MODEL_NOT_READY */
  meant({ model, task }: Target): Model {
    return model === '' ? this.#only(task) : this.model(model);
  }

  /**
   * A hold on the version that is to answer a request; it is loaded if it is not.
   * @throws ServingError MODEL_NOT_FOUND, VERSION_NOT_FOUND, INVALID_INPUT, MODEL_NOT_READY, MEMORY_BUDGET_EXCEEDED and
   * whatever its load fails with
   */
  async acquire(target: Target, caller: { signal?: AbortSignal | undefined } = {}): Promise<ModelLease> {
    const model = this.meant(target);
    const lease = await model.acquire(target, caller);
    const { version, loaded } = lease;
    return { model, version, loaded, [Symbol.dispose]: lease[Symbol.dispose] };
  }

  /** Finishes what runs and unloads everything. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(
      [...this.models, ...this.#leaving].map((model) => model.close('the server is stopping')),
    );
  }

  /** Fails what runs and unloads everything. */
  async destroy(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.models, ...this.#leaving].map((model) => model.destroy(stopping())));
  }

  #add(folder: ModelFolder): Model {
    const { mode, loadModels, preload, host } = this.#options;
    const { name } = folder;
    const isNamed = (names: Names) => names === 'all' || names.has(name);
    const wanted = mode !== 'explicit' || isNamed(loadModels);
    const model = new Model(folder, { host, eager: isNamed(preload), wanted });
    this.#models.set(name, model);
    return model;
  }

  #drop(model: Model): void {
    this.#models.delete(model.name);
    this.#options.log.info(
      { model: model.name },
      'the folder of the model is gone; it finishes and is unloaded',
    );
    this.#leaving.add(model);
    void model.close('its folder is gone').finally(() => this.#leaving.delete(model));
  }

  #unknown(name: string): ServingError {
    const names = this.models.map((known) => known.name).join(', ') || 'none';
    const message = `there is no model "${name}" in the repository; it has ${names}.`;
    return new ServingError('MODEL_NOT_FOUND', message);
  }

  /** The only model that can do a task; for reranking, cross-encoders come first. */
  #only(task: Target['task']): Model {
    const isAble = ({ tasks }: Model) =>
      task === 'tokenize' ? tasks.includes('embed') || tasks.includes('rerank') : tasks.includes(task);
    const [single] = this.#models.size === 1 ? this.#models.values() : [];
    if (single !== undefined && isAble(single)) return single;
    const able = this.models.filter(isAble);
    const first = (preferred: readonly Model[]) => (preferred.length > 0 ? preferred : able);
    const candidates =
      task === 'rerank'
        ? first(able.filter((model) => !model.tasks.includes('embed')))
        : first(able.filter((model) => model.tasks.includes('embed')));
    if (candidates.length === 1) return candidates[0]!;
    throw candidates.length === 0 ? this.#noneFor(task) : severalFor(task, candidates);
  }

  #noneFor(task: Target['task']): ServingError {
    if (!this.#hasLooked || this.models.some((model) => !model.ready)) {
      const why = this.models.flatMap(({ shortcoming }) => shortcoming?.message ?? []).join('; ');
      const ready = why === '' ? 'is ready yet.' : `is ready: ${why}`;
      return new ServingError('MODEL_NOT_READY', `no model that can ${task} ${ready}`, {
        retryAfterMs: 1000,
      });
    }
    const names = this.models.map((model) => model.name).join(', ') || 'none';
    return new ServingError('MODEL_NOT_FOUND', `no model in the repository can ${task}; it has ${names}.`);
  }
}

function severalFor(task: Target['task'], models: readonly Model[]): ServingError {
  const names = models.map((model) => model.name).join(', ');
  return new ServingError(
    'INVALID_INPUT',
    `several models can ${task} (${names}); say which one in "model".`,
  );
}

function stopping(): ServingError {
  return new ServingError('SERVER_STOPPING', 'The server is stopping.', { retryAfterMs: 1000 });
}
