import { ServingError } from '../errors.ts';
import { systemClock } from '../scheduler/clock.ts';
import type { ItemResult } from '../scheduler/item.ts';
import { prepareTexts, type Truncate } from '../tasks/embed.ts';
import { preparePairs, queryStates, type ScoreKind, toUnitScore } from '../tasks/rerank.ts';
import type { EncodedText } from '../tasks/tokenizer.ts';
import type { InstanceState, Reduction } from '../types.ts';
import { type Loaded, type ModelDefaults, type ModelObserver, openModel } from './load.ts';
import type { ModelFolder } from './repository.ts';

export type ModelState = 'unloaded' | 'loading' | 'ready' | 'draining' | 'failed';
export type Task = 'embed' | 'rerank';

export interface CallOptions {
  truncate: Truncate;
  /** Client gone, deadline or shutdown; its reason may be a ServingError. */
  signal?: AbortSignal | undefined;
  /** Milliseconds since the epoch. */
  deadlineMs?: number | undefined;
}

/** Where the time of a call went, in microseconds; each figure is the largest of any input. */
export interface Timings {
  queueUs: number;
  tokenizeUs: number;
  computeUs: number;
  postUs: number;
}

export interface EmbedOutcome {
  /** One vector of `dimension` floats per text. */
  vectors: Float32Array[];
  encoded: EncodedText[];
  timings: Timings;
}

export interface RerankOutcome {
  kind: ScoreKind;
  /** In the order of the documents. */
  results: { score: number; rawScore: number; encoded: EncodedText }[];
  timings: Timings;
}

/** One version of one model: its weights are loaded once and serve all its tasks. */
export class Model {
  readonly folder: ModelFolder;
  readonly #defaults: ModelDefaults;
  readonly #observer: ModelObserver | undefined;
  #state: ModelState = 'unloaded';
  #reason = '';
  #loaded: Loaded | undefined;
  #loadMs = 0;

  constructor(folder: ModelFolder, defaults: ModelDefaults, observer?: ModelObserver) {
    this.folder = folder;
    this.#defaults = defaults;
    this.#observer = observer;
  }

  /** Name and version, for messages. */
  get owner(): string {
    return `model ${this.folder.name} version ${this.folder.version}`;
  }

  get state(): ModelState {
    return this.#loaded?.pool.failure === undefined ? this.#state : 'failed';
  }

  get reason(): string {
    return this.#loaded?.pool.failure?.message ?? this.#reason;
  }

  get loadMs(): number {
    return this.#loadMs;
  }

  get tasks(): Task[] {
    if (this.#loaded === undefined) return [];
    if (this.#loaded.config.task === 'rerank') return ['rerank'];
    return this.#loaded.info.perToken ? ['embed', 'rerank'] : ['embed'];
  }

  /** How this model reranks, if it is loaded. */
  get scoreKind(): ScoreKind | undefined {
    if (this.#loaded === undefined) return undefined;
    return this.#loaded.config.task === 'embed' ? 'late_interaction' : 'cross_encoder';
  }

  get space(): string {
    return this.#loaded?.space ?? '';
  }

  get dimension(): number {
    return this.#loaded?.info.dimension ?? 0;
  }

  get maxTokens(): number {
    return this.#loaded?.config.maxTokens ?? 0;
  }

  get specialTokens(): number {
    return this.#loaded?.tokenizer.specialTokens ?? 0;
  }

  get instances(): InstanceState[] {
    return this.#loaded?.pool.states ?? [];
  }

  /** Texts and tokens that wait now. */
  get queue(): { items: number; tokens: number } {
    const scheduler = this.#loaded?.scheduler;
    return { items: scheduler?.queuedItems ?? 0, tokens: scheduler?.queuedTokens ?? 0 };
  }

  /** Loads and warms up. @throws ServingError MODEL_CONFIG_INVALID, MODEL_LOAD_FAILED */
  async load(): Promise<void> {
    const started = performance.now();
    this.#state = 'loading';
    try {
      this.#loaded = await openModel(this.folder, {
        owner: this.owner,
        defaults: this.#defaults,
        observer: this.#observer,
      });
      this.#loadMs = Math.round(performance.now() - started);
      this.#state = 'ready';
    } catch (thrown) {
      const error = ServingError.from(thrown);
      this.#state = 'failed';
      this.#reason = error.message;
      throw error;
    }
  }

  /** Unit-length (if the model says so) vectors of texts. @throws ServingError */
  async embed(texts: readonly string[], options: CallOptions): Promise<EmbedOutcome> {
    const loaded = this.#usable('embed');
    loaded.scheduler.refuseEarly(texts.length);
    const started = performance.now();
    const encoded = await prepareTexts(loaded.tokenizer, texts, this.#prepareOptions(loaded, options));
    const tokenizeUs = (performance.now() - started) * 1000;
    const results = await this.#run(
      loaded,
      encoded.map((text) => ({ row: text.row, reduction: POOLED })),
      options,
    );
    return {
      vectors: results.map((result) => result.output),
      encoded,
      timings: slowest(results, tokenizeUs),
    };
  }

  /** Scores documents against a query in the way this model can. @throws ServingError */
  async rerank(query: string, documents: readonly string[], options: CallOptions): Promise<RerankOutcome> {
    const loaded = this.#usable('rerank');
    loaded.scheduler.refuseEarly(documents.length);
    const started = performance.now();
    const prepare = this.#prepareOptions(loaded, options);
    const isCrossEncoder = loaded.config.task === 'rerank';
    const encoded = isCrossEncoder
      ? await preparePairs(loaded.tokenizer, { query, documents }, prepare)
      : await prepareTexts(loaded.tokenizer, documents, prepare);
    const tokenizeUs = (performance.now() - started) * 1000;
    const reduction: Reduction = isCrossEncoder
      ? { kind: 'logits' }
      : { kind: 'maxsim', query: await this.#queryStates(loaded, query, options) };
    const results = await this.#run(
      loaded,
      encoded.map((text) => ({ row: text.row, reduction })),
      options,
    );
    const kind = this.scoreKind!;
    return {
      kind,
      results: results.map((result, index) => {
        const rawScore = result.output[0]!;
        return { score: toUnitScore(kind, rawScore), rawScore, encoded: encoded[index]! };
      }),
      timings: slowest(results, tokenizeUs),
    };
  }

  /** Token ids of texts, special tokens not included and nothing truncated. */
  async tokenize(texts: readonly string[], signal?: AbortSignal): Promise<number[][]> {
    return this.#usableLoaded().tokenizer.idsOf(texts, signal);
  }

  /** Finishes what waits and runs, then gives the memory back. */
  async close(): Promise<void> {
    if (this.#loaded === undefined || this.#state === 'unloaded') return;
    this.#state = 'draining';
    await this.#loaded.scheduler.close();
    await this.#loaded.pool.close();
    this.#state = 'unloaded';
  }

  /** Fails what waits and runs, and ends the workers. */
  async destroy(reason: ServingError): Promise<void> {
    if (this.#loaded === undefined || this.#state === 'unloaded') return;
    this.#loaded.scheduler.destroy(reason);
    await this.#loaded.pool.destroy();
    this.#state = 'unloaded';
  }

  #usable(task: Task): Loaded {
    const loaded = this.#usableLoaded();
    if (this.tasks.includes(task)) return loaded;
    throw new ServingError(
      'TASK_NOT_SUPPORTED',
      `${this.owner} can't ${task}; it can ${this.tasks.join(' and ')}.`,
    );
  }

  #usableLoaded(): Loaded {
    if (this.#loaded !== undefined && this.#state === 'ready') return this.#loaded;
    const why = this.reason === '' ? '' : `: ${this.reason}`;
    const reason = this.#state === 'draining' ? 'MODEL_DRAINING' : 'MODEL_NOT_READY';
    throw new ServingError(reason, `${this.owner} is ${this.state}${why}.`, { retryAfterMs: 1000 });
  }

  #prepareOptions(loaded: Loaded, options: CallOptions) {
    return {
      owner: this.owner,
      maxTokens: loaded.config.maxTokens,
      truncate: options.truncate,
      signal: options.signal,
    };
  }

  async #queryStates(loaded: Loaded, query: string, options: CallOptions): Promise<Float32Array> {
    const [encoded] = await prepareTexts(loaded.tokenizer, [query], this.#prepareOptions(loaded, options));
    const [result] = await this.#run(loaded, [{ row: encoded!.row, reduction: { kind: 'tokens' } }], options);
    return queryStates(result!.output, loaded.tokenizer.specials, loaded.info.dimension);
  }

  #run(
    loaded: Loaded,
    inputs: { row: EncodedText['row']; reduction: Reduction }[],
    options: CallOptions,
  ): Promise<ItemResult[]> {
    const { signal, deadlineMs } = options;
    const deadlineUs =
      deadlineMs === undefined ? undefined : systemClock.nowUs() + (deadlineMs - Date.now()) * 1000;
    return Promise.all(loaded.scheduler.submit(inputs, { signal, deadlineUs }));
  }
}

const POOLED: Reduction = { kind: 'pooled' };

function slowest(results: readonly ItemResult[], tokenizeUs: number): Timings {
  const timings: Timings = { queueUs: 0, tokenizeUs, computeUs: 0, postUs: 0 };
  for (const result of results) {
    timings.queueUs = Math.max(timings.queueUs, result.queueUs);
    timings.computeUs = Math.max(timings.computeUs, result.computeUs);
    timings.postUs = Math.max(timings.postUs, result.postUs);
  }
  return timings;
}
