import { type Reason, ServingError } from '../errors.ts';
import type { TensorSpec } from '../types.ts';
import type { SharedEmbedder } from './embedding-cache/shared-embedder.ts';
import type { Loaded } from './loaded.ts';
import type { ModelLease, Registry } from './registry.ts';
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

/** An outcome, and which version it came from. */
export type Answered<T> = T & { ref: VersionRef };

interface Work<T> {
  run: (loaded: Loaded, options: CallOptions) => Promise<T>;
  /** How much of an outcome the version has computed for it: what it has not says nothing about the version. */
  computed?: (outcome: T) => 'all' | 'some' | 'none';
  /** Absent for what is not worth mirroring. */
  mirror?: MirrorWork<T>;
}

/** How another version is asked the same, and compared. */
interface MirrorWork<T> {
  run: (loaded: Loaded, options: CallOptions) => Promise<T>;
  compare: (mirrored: T, answered: T) => Agreement;
  /** Whether all of the request is mirrored, so that the times can be compared. */
  isWhole: boolean;
  /** What decides whether it is mirrored: a busy caller's key would decide for all its requests. */
  text: string | undefined;
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
  // The server's state, which no version can help.
  'MODEL_DRAINING',
  'SERVER_STOPPING',
  'MEMORY_BUDGET_EXCEEDED',
  'QUEUE_FULL',
];

/** Answers requests: finds the version, holds it while it works, and tells the rollout how it went. */
export class Serving {
  readonly #registry: Registry;
  readonly #embedder: SharedEmbedder;

  constructor(registry: Registry, embedder: SharedEmbedder) {
    this.#registry = registry;
    this.#embedder = embedder;
  }

  /** Vectors of texts, one per text, of unit length if the model says so. @throws ServingError */
  embed(target: Target, texts: readonly string[], options: CallOptions): Promise<Answered<EmbedOutcome>> {
    return this.#serve(withKey(target, texts[0]), options, {
      run: (loaded, call) => this.#embedder.embed(textOf(loaded, 'embed'), texts, call),
      computed: howMuch,
      mirror: {
        run: (loaded, call) => embedTexts(textOf(loaded, 'embed'), texts.slice(0, MOST_MIRRORED), call),
        compare: (mirrored, { vectors }) => ({
          kind: 'embed',
          vectors: mirrored.vectors,
          againstVectors: vectors.slice(0, MOST_MIRRORED),
        }),
        isWhole: texts.length <= MOST_MIRRORED,
        text: texts[0],
      },
    });
  }

  /** Scores of documents against a query, in their order. @throws ServingError */
  rerank(target: Target, request: RerankRequest, options: CallOptions): Promise<Answered<RerankOutcome>> {
    const { query, documents } = request;
    const sample = { ...request, documents: documents.slice(0, MOST_MIRRORED) };
    const scoresOf = ({ results }: RerankOutcome) =>
      results.slice(0, MOST_MIRRORED).map(({ rawScore }) => rawScore);
    return this.#serve(withKey(target, query), options, {
      run: (loaded, call) => rerankDocuments(textOf(loaded, 'rerank'), request, call),
      mirror: {
        run: (loaded, call) => rerankDocuments(textOf(loaded, 'rerank'), sample, call),
        compare: (mirrored, answered) => ({
          kind: 'rerank',
          scores: scoresOf(mirrored),
          againstScores: scoresOf(answered),
        }),
        isWhole: documents.length <= MOST_MIRRORED,
        text: query,
      },
    });
  }

  /** Token ids of texts. @throws ServingError */
  tokenize(
    target: Target,
    texts: readonly string[],
    options: Pick<CallOptions, 'signal'>,
  ): Promise<Answered<TokenizeOutcome>> {
    return this.#serve(
      withKey(target, texts[0]),
      { ...options, truncate: 'end' },
      {
        run: (loaded, { signal }) => tokenizeTexts(textOf(loaded, 'tokenize'), texts, signal),
      },
    );
  }

  /** Raw tensors in and out. @throws ServingError */
  infer(
    target: Target,
    request: InferRequest,
    options: Omit<CallOptions, 'truncate'>,
  ): Promise<Answered<InferOutcome>> {
    return this.#serve(
      target,
      { ...options, truncate: 'end' },
      { run: (loaded, call) => inferTensors(loaded, request, call) },
    );
  }

  /**
   * The tensors, as callers see them, of the version that a request like this would reach; it is loaded for that.
   * @throws ServingError
   */
  async signature(target: Target): Promise<{ ref: VersionRef; inputs: TensorSpec[]; outputs: TensorSpec[] }> {
    using lease = await this.#registry.acquire(target);
    const { inputs, outputs } = lease.loaded.config;
    return { ref: refOf(lease), inputs, outputs };
  }

  async #serve<T extends object>(target: Target, options: CallOptions, work: Work<T>): Promise<Answered<T>> {
    using lease = await this.#registry.acquire(target, options.signal);
    const { model, version, loaded } = lease;
    const of = version.files.version;
    const started = performance.now();
    let outcome: T;
    try {
      outcome = await work.run(loaded, options);
    } catch (thrown) {
      const isVersions = !NOT_THE_VERSIONS.includes(ServingError.from(thrown).reason);
      if (isVersions) model.rollout.record({ version: of, ms: performance.now() - started, ok: false });
      throw thrown;
    }
    const computed = work.computed?.(outcome) ?? 'all';
    const ms = performance.now() - started;
    if (computed !== 'none') model.rollout.record({ version: of, ms, ok: true });
    const answered = { lease, outcome, ms: computed === 'all' ? ms : undefined };
    if (work.mirror !== undefined) this.#mirror(target, answered, work.mirror);
    return { ...outcome, ref: refOf(lease) };
  }

  /** Gives the same request to another version when the rollout wants to know how that one would have answered. */
  #mirror<T extends object>(
    target: Target,
    answered: { lease: ModelLease; outcome: T; ms: number | undefined },
    { run, compare, isWhole, text = '' }: MirrorWork<T>,
  ): void {
    const { model, version } = answered.lease;
    const against = version.files.version;
    const other = model.rollout.shadowOf(against, text);
    if (other === undefined) return;
    model.rollout.mirror({ version: other, against }, async (closing) => {
      const signal = AbortSignal.any([closing, AbortSignal.timeout(MIRROR_MS)]);
      using lease = await model.acquire({ ...target, version: other, alias: '', expectSpace: '' }, signal);
      const started = performance.now();
      const outcome = await run(lease.loaded, { truncate: 'end', priority: 'bulk', signal });
      const ms = performance.now() - started;
      const agreement = compare(outcome, answered.outcome);
      const againstMs = isWhole ? answered.ms : undefined;
      model.rollout.recordShadow({ version: other, against, ms, againstMs, ...agreement });
    });
  }
}

/** A request without a key sticks to a version by its text. */
function withKey(target: Target, text = ''): Target {
  return target.stickyKey === '' ? { ...target, stickyKey: text } : target;
}

/** How much of the texts was computed. */
function howMuch({ texts }: EmbedOutcome): 'all' | 'some' | 'none' {
  const cached = texts.filter((text) => text.cached).length;
  if (cached === 0) return 'all';
  return cached < texts.length ? 'some' : 'none';
}

function refOf({ model, version }: ModelLease): VersionRef {
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
