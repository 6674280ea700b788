import { type Reason, ServingError } from '../errors.ts';
import type { TensorSpec } from '../types.ts';
import type { SharedEmbedder } from './embedding-cache/shared-embedder.ts';
import type { Loaded } from './loaded.ts';
import type { Model } from './model.ts';
import type { Registry } from './registry.ts';
import type { ShadowSample } from './rollout/shadow-book.ts';
import {
  type CallOptions,
  type EmbedOutcome,
  embedTexts,
  type InferOutcome,
  type InferRequest,
  inferTensors,
  isText,
  type LoadedText,
  type RerankOutcome,
  type RerankRequest,
  rerankDocuments,
  type TokenizeOutcome,
  tokenizeTexts,
} from './run-task.ts';
import type { Target, Task, VersionRef } from './target.ts';
import type { ModelVersion } from './version.ts';

/** An outcome, and which version it came from. */
export type Answered<T> = T & { ref: VersionRef };

/** What is done with requests of one kind. */
interface Work<Request, T> {
  run: (loaded: Loaded, request: Request, options: CallOptions) => Promise<T>;
  /** How much of an outcome the version has computed for it: what it has not says nothing about the version. */
  computed?: (outcome: T) => 'all' | 'some' | 'none';
  /** Absent for what is not worth mirroring. */
  mirror?: MirrorWork<Request, T>;
}

/** How another version is asked the same, and compared. */
interface MirrorWork<Request, T> {
  run: (loaded: Loaded, request: Request, options: CallOptions) => Promise<T>;
  compare: (mirrored: T, answered: T) => Agreement;
  /** The part of a request that is mirrored. */
  sample: (request: Request) => Request;
  /** What decides whether it is mirrored: a busy caller's key would decide for all its requests. */
  textOf: (request: Request) => string | undefined;
}

type Agreement =
  | Pick<Extract<ShadowSample, { kind: 'embed' }>, 'kind' | 'vectors' | 'againstVectors'>
  | Pick<Extract<ShadowSample, { kind: 'rerank' }>, 'kind' | 'scores' | 'againstScores'>;

/** Longest that a mirrored request may take; nobody waits for it. */
const MIRROR_MS = 30_000;
/** Texts of one request that are mirrored: a comparison needs no more, and a bulk request must not fill a queue twice. */
const MOST_MIRRORED = 32;

/** Failures that say nothing about the version that was to answer: most are the caller's doing. */
const NOT_THE_VERSIONS: readonly Reason[] = [
  'INVALID_INPUT',
  'SHAPE_MISMATCH',
  'INPUT_TOO_LONG',
  'BATCH_TOO_LARGE',
  'TASK_NOT_SUPPORTED',
  'CANCELLED',
  // Callers choose their deadlines; a version that is slow is seen by its latencies.
  'DEADLINE_EXCEEDED',
  'DEADLINE_UNREACHABLE',
  // The server's state, which no version can help.
  'MODEL_DRAINING',
  'SERVER_STOPPING',
  'MEMORY_BUDGET_EXCEEDED',
  'QUEUE_FULL',
];

const RERANK: Work<RerankRequest, RerankOutcome> = {
  run: (loaded, request, call) => rerankDocuments(textOf(loaded, 'rerank'), request, call),
  mirror: {
    run: (loaded, request, call) => rerankDocuments(textOf(loaded, 'rerank'), request, call),
    compare: (mirrored, answered) => ({
      kind: 'rerank',
      scores: scoresOf(mirrored),
      againstScores: scoresOf(answered),
    }),
    sample: (request) => withMost(request, request.documents, (documents) => ({ ...request, documents })),
    textOf: ({ query }) => query,
  },
};

const TOKENIZE: Work<readonly string[], TokenizeOutcome> = {
  run: (loaded, texts, { signal }) => tokenizeTexts(textOf(loaded, 'tokenize'), texts, signal),
};

const INFER: Work<InferRequest, InferOutcome> = { run: inferTensors };

/** Of embeddings, mirrored ones are always computed: taken from the cache they would tell nothing about a version. */
function embedWork(embedder: SharedEmbedder): Work<readonly string[], EmbedOutcome> {
  return {
    run: (loaded, texts, call) => embedder.embed(textOf(loaded, 'embed'), texts, call),
    computed: howMuch,
    mirror: {
      run: (loaded, texts, call) => embedTexts(textOf(loaded, 'embed'), texts, call),
      compare: (mirrored, { vectors }) => ({
        kind: 'embed',
        vectors: mirrored.vectors,
        againstVectors: vectors.slice(0, MOST_MIRRORED),
      }),
      sample: (texts) => withMost(texts, texts, (some) => some),
      textOf: (texts) => texts[0],
    },
  };
}

/** Answers requests: finds the version, holds it while it works, and tells the rollout how it went. */
export class Serving {
  readonly #registry: Registry;
  readonly #embed: Work<readonly string[], EmbedOutcome>;

  constructor(registry: Registry, embedder: SharedEmbedder) {
    this.#registry = registry;
    this.#embed = embedWork(embedder);
  }

  /** Vectors of texts, one per text, of unit length if the model says so. @throws ServingError */
  embed(target: Target, texts: readonly string[], options: CallOptions): Promise<Answered<EmbedOutcome>> {
    return this.#serve(this.#embed, { target: withKey(target, texts[0]), request: texts }, options);
  }

  /** Scores of documents against a query, in their order. @throws ServingError */
  rerank(target: Target, request: RerankRequest, options: CallOptions): Promise<Answered<RerankOutcome>> {
    return this.#serve(RERANK, { target: withKey(target, request.query), request }, options);
  }

  /** Token ids of texts. @throws ServingError */
  tokenize(
    target: Target,
    texts: readonly string[],
    { signal }: Pick<CallOptions, 'signal'>,
  ): Promise<Answered<TokenizeOutcome>> {
    const asked = { target: withKey(target, texts[0]), request: texts };
    return this.#serve(TOKENIZE, asked, { signal, truncate: 'end' });
  }

  /** Raw tensors in and out. @throws ServingError */
  infer(
    target: Target,
    request: InferRequest,
    options: Omit<CallOptions, 'truncate'>,
  ): Promise<Answered<InferOutcome>> {
    return this.#serve(INFER, { target, request }, { ...options, truncate: 'end' });
  }

  /**
   * The tensors, as callers see them, of the version that a request like this would reach; it is loaded for that.
   * @throws ServingError
   */
  async signature(target: Target): Promise<{ ref: VersionRef; inputs: TensorSpec[]; outputs: TensorSpec[] }> {
    using lease = await this.#registry.acquire(target);
    const { inputs, outputs } = lease.loaded.config;
    return { ref: refOf(lease.model, lease.version), inputs, outputs };
  }

  async #serve<Request, T extends object>(
    work: Work<Request, T>,
    asked: Asked<Request>,
    options: CallOptions,
  ): Promise<Answered<T>> {
    const model = this.#registry.meant(asked.target);
    const lease = await model.acquire(asked.target, options);
    const started = performance.now();
    // Not `using`: that takes half a microsecond, a fifth of what a cached answer takes here.
    try {
      const outcome = await work.run(lease.loaded, asked.request, options);
      const ms = performance.now() - started;
      return this.#answered(work, asked, { model, version: lease.version, outcome, ms });
    } catch (thrown) {
      const ms = performance.now() - started;
      const isVersions = !NOT_THE_VERSIONS.includes(ServingError.from(thrown).reason);
      if (isVersions) model.rollout.record({ version: lease.version.files.version, ms, ok: false });
      throw thrown;
    } finally {
      lease[Symbol.dispose]();
    }
  }

  /** Tells the rollout how it went, and the caller who answered. */
  #answered<Request, T extends object>(
    work: Work<Request, T>,
    asked: Asked<Request>,
    { model, version, outcome, ms }: Outcome<T> & { ms: number },
  ): Answered<T> {
    const computed = work.computed?.(outcome) ?? 'all';
    if (computed !== 'none') model.rollout.record({ version: version.files.version, ms, ok: true });
    const comparableMs = computed === 'all' ? ms : undefined;
    if (work.mirror !== undefined)
      this.#mirror(work.mirror, asked, { model, version, outcome, ms: comparableMs });
    const answered = outcome as Answered<T>;
    answered.ref = refOf(model, version);
    return answered;
  }

  /** Gives the same request to another version when the rollout wants to know how that one would have answered. */
  #mirror<Request, T extends object>(
    { run, compare, sample, textOf: keyOf }: MirrorWork<Request, T>,
    { target, request }: Asked<Request>,
    answered: Outcome<T> & { ms: number | undefined },
  ): void {
    const { model, version } = answered;
    const against = version.files.version;
    const other = model.rollout.shadowOf(against, keyOf(request) ?? '');
    if (other === undefined) return;
    const part = sample(request);
    model.rollout.mirror({ version: other, against }, async (closing) => {
      const signal = AbortSignal.any([closing, AbortSignal.timeout(MIRROR_MS)]);
      const caller = { signal };
      using lease = await model.acquire({ ...target, version: other, alias: '', expectSpace: '' }, caller);
      const started = performance.now();
      const outcome = await run(lease.loaded, part, { truncate: 'end', priority: 'bulk', signal });
      const ms = performance.now() - started;
      const agreement = compare(outcome, answered.outcome);
      // Times can be compared only where both have done all of the work.
      const againstMs = part === request ? answered.ms : undefined;
      model.rollout.recordShadow({ version: other, against, ms, againstMs, ...agreement });
    });
  }
}

/** What a version has answered. */
interface Outcome<T> {
  model: Model;
  version: ModelVersion;
  outcome: T;
}

/** A request, and which version it means. */
interface Asked<Request> {
  target: Target;
  request: Request;
}

/** The whole request where its texts are few enough, else one of as many as are mirrored. */
function withMost<Request>(
  request: Request,
  texts: readonly string[],
  of: (some: readonly string[]) => Request,
): Request {
  return texts.length <= MOST_MIRRORED ? request : of(texts.slice(0, MOST_MIRRORED));
}

function scoresOf({ results }: RerankOutcome): number[] {
  return results.slice(0, MOST_MIRRORED).map(({ rawScore }) => rawScore);
}

/** A request without a key sticks to a version by its text. */
function withKey(target: Target, text = ''): Target {
  return target.stickyKey === '' ? { ...target, stickyKey: text } : target;
}

/** How much of the texts was computed. */
function howMuch({ texts }: EmbedOutcome): 'all' | 'some' | 'none' {
  let cached = 0;
  for (const text of texts) if (text.cached) cached++;
  if (cached === 0) return 'all';
  return cached < texts.length ? 'some' : 'none';
}

function refOf(model: Model, version: ModelVersion): VersionRef {
  return {
    name: model.name,
    version: version.files.version,
    space: model.spaceOf(version),
    dimension: version.description?.dimension ?? 0,
  };
}

/** @throws ServingError TASK_NOT_SUPPORTED */
function textOf(loaded: Loaded, task: Task | 'tokenize'): LoadedText {
  const isAble = task === 'tokenize' || loaded.tasks.includes(task);
  if (isAble && isText(loaded)) return loaded;
  const can = loaded.tasks.map((able) => (able === 'infer' ? 'take raw tensors' : able)).join(' and ');
  throw new ServingError('TASK_NOT_SUPPORTED', `${loaded.owner} can't ${task}; it can ${can}.`);
}
