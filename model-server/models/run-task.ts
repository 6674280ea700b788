import { ServingError } from '../errors.ts';
import { checkTensors } from '../scheduler/check-tensors.ts';
import { type Clock, systemClock } from '../scheduler/clock.ts';
import type { ItemResult } from '../scheduler/item.ts';
import type { Priority } from '../scheduler/priority.ts';
import type { SubmitOptions } from '../scheduler/scheduler-options.ts';
import { prepareTexts, type Truncate } from '../tasks/embed.ts';
import { preparePairs, queryStates, type ScoreKind, toUnitScore } from '../tasks/rerank.ts';
import type { EncodedText } from '../tasks/tokenizer.ts';
import type { RawTensor, Reduction } from '../types.ts';
import type { TextFacts } from './embedding-cache/embedded-text.ts';
import type { Loaded, TextParts } from './loaded.ts';
import { reshapeInputs, reshapeOutputs } from './repository/reshape.ts';

export { PRIORITIES, type Priority } from '../scheduler/priority.ts';

export interface CallOptions {
  truncate: Truncate;
  /** `default` when absent. */
  priority?: Priority | undefined;
  /** Who shares fairly with whom within a priority; calls that name nobody are one tenant. */
  tenant?: string | undefined;
  /** For embeddings: every text is computed for this call, no vector is kept, and no other call's computation is joined. */
  noCache?: boolean | undefined;
  /** Client gone, deadline or shutdown; its reason may be a ServingError. */
  signal?: AbortSignal | undefined;
  /** Milliseconds since the epoch. */
  deadlineMs?: number | undefined;
  /** How long the request may wait for its turn, as far as the model's configuration lets requests say that. */
  timeoutMs?: number | undefined;
}

/** Where the time of a call went, in microseconds; each figure is the largest of any input. */
export interface Timings {
  queueUs: number;
  tokenizeUs: number;
  computeUs: number;
  postUs: number;
}

export interface EmbedOutcome {
  /** One vector of `dimension` floats per text. They are shared, and must not be changed. */
  vectors: Float32Array[];
  texts: readonly TextFacts[];
  timings: Timings;
}

export interface RerankRequest {
  query: string;
  documents: readonly string[];
  /** The only way of scoring that will do; absent: whatever the model does. */
  kind?: ScoreKind | undefined;
}

export interface RerankOutcome {
  kind: ScoreKind;
  /** In the order of the documents. */
  results: { score: number; rawScore: number; encoded: EncodedText }[];
  timings: Timings;
}

export interface TokenizeOutcome {
  /** Token ids of each text, special tokens not included and nothing truncated. */
  ids: number[][];
  maxTokens: number;
  /** How many of those a single text spends on special tokens. */
  specialTokens: number;
}

export interface InferRequest {
  inputs: RawTensor[];
  /** Names of the wanted outputs; empty: all. */
  outputs: string[];
}

export interface InferOutcome {
  outputs: RawTensor[];
  timings: Timings;
}

/** A loaded version that takes texts. */
export interface LoadedText extends Loaded {
  text: TextParts;
}

/** Whether a version takes texts. */
export function isText(loaded: Loaded): loaded is LoadedText {
  return loaded.text !== undefined;
}

export const POOLED: Reduction = { kind: 'pooled' };

/** Vectors of texts, of unit length if the model says so; each is computed. @throws ServingError */
export async function embedTexts(
  loaded: LoadedText,
  texts: readonly string[],
  options: CallOptions,
): Promise<EmbedOutcome> {
  loaded.scheduler.refuseEarly(texts.length, submitOptions(loaded, options));
  const started = performance.now();
  const encoded = await prepareTexts(loaded.text.tokenizer, texts, prepareOptions(loaded, options));
  const tokenizeUs = (performance.now() - started) * 1000;
  const results = await submit(
    loaded,
    encoded.map((text) => ({ row: text.row, reduction: POOLED })),
    options,
  );
  return {
    vectors: results.map((result) => result.output),
    texts: encoded.map(({ tokens, truncated, row }) => ({
      tokens,
      tokensUsed: row.ids.length,
      truncated,
      cached: false,
    })),
    timings: slowest(results, tokenizeUs),
  };
}

/**
 * Scores of documents against a query, in the way this model can.
 * @throws ServingError TASK_NOT_SUPPORTED, before anything is computed, when that is not the wanted one
 */
export async function rerankDocuments(
  loaded: LoadedText,
  { query, documents, kind: wanted }: RerankRequest,
  options: CallOptions,
): Promise<RerankOutcome> {
  const kind = scoreKindOf(loaded);
  if (wanted !== undefined && wanted !== kind)
    throw new ServingError('TASK_NOT_SUPPORTED', `${loaded.owner} scores by ${kind}, not by ${wanted}.`);
  loaded.scheduler.refuseEarly(documents.length, submitOptions(loaded, options));
  const started = performance.now();
  const prepare = prepareOptions(loaded, options);
  const encoded =
    kind === 'cross_encoder'
      ? await preparePairs(loaded.text.tokenizer, { query, documents }, prepare)
      : await prepareTexts(loaded.text.tokenizer, documents, prepare);
  const tokenizeUs = (performance.now() - started) * 1000;
  const reduction: Reduction =
    kind === 'cross_encoder'
      ? { kind: 'logits' }
      : { kind: 'maxsim', query: await statesOfQuery(loaded, query, options) };
  const results = await submit(
    loaded,
    encoded.map((text) => ({ row: text.row, reduction })),
    options,
  );
  return {
    kind,
    results: results.map((result, index) => {
      const rawScore = result.output[0]!;
      return { score: toUnitScore(kind, rawScore), rawScore, encoded: encoded[index]! };
    }),
    timings: slowest(results, tokenizeUs),
  };
}

/** Token ids of texts. Runs on the server's thread and needs no instance. */
export async function tokenizeTexts(
  loaded: LoadedText,
  texts: readonly string[],
  signal?: AbortSignal,
): Promise<TokenizeOutcome> {
  const ids = await loaded.text.tokenizer.idsOf(texts, signal);
  return { ids, maxTokens: loaded.config.maxTokens, specialTokens: loaded.text.tokenizer.specialTokens };
}

/** Raw tensors through the same instances as texts. @throws ServingError SHAPE_MISMATCH, INVALID_INPUT, BATCH_TOO_LARGE */
export async function inferTensors(
  loaded: Loaded,
  request: InferRequest,
  options: Omit<CallOptions, 'truncate'>,
): Promise<InferOutcome> {
  const { owner, config, maxBatchItems: maxRows } = loaded;
  const call = checkTensors(config, request, { owner, batched: config.batched, maxRows });
  const inputs = reshapeInputs(call.inputs, config.reshapes);
  const submitted = loaded.scheduler.submitTensors({ ...call, inputs }, submitOptions(loaded, options));
  const { tensors, ...timings } = await submitted;
  return { outputs: reshapeOutputs(tensors, config.reshapes), timings: { ...timings, tokenizeUs: 0 } };
}

/** How a text model ranks. */
export function scoreKindOf({ config }: Pick<Loaded, 'config'>): ScoreKind {
  return config.task === 'rerank' ? 'cross_encoder' : 'late_interaction';
}

/** What preparing a call's texts takes. */
export function prepareOptions({ owner, config }: LoadedText, { truncate, signal }: CallOptions) {
  return { owner, maxTokens: config.maxTokens, truncate, signal };
}

async function statesOfQuery(loaded: LoadedText, query: string, options: CallOptions): Promise<Float32Array> {
  const [encoded] = await prepareTexts(loaded.text.tokenizer, [query], prepareOptions(loaded, options));
  const [result] = await submit(loaded, [{ row: encoded!.row, reduction: { kind: 'tokens' } }], options);
  return queryStates(result!.output, loaded.text.tokenizer.specials, loaded.text.head.dimension);
}

function submit(
  loaded: Loaded,
  inputs: { row: EncodedText['row']; reduction: Reduction }[],
  options: CallOptions,
): Promise<ItemResult[]> {
  return Promise.all(loaded.scheduler.submit(inputs, submitOptions(loaded, options)));
}

/** What the scheduler is to know of a call; deadlines are on its clock. */
export function submitOptions(
  { config }: Pick<Loaded, 'config'>,
  options: Omit<CallOptions, 'truncate'>,
  clock: Clock = systemClock,
): SubmitOptions {
  const { signal, deadlineMs, timeoutMs, priority, tenant } = options;
  const leftMs = Math.min(
    deadlineMs === undefined ? Number.POSITIVE_INFINITY : deadlineMs - Date.now(),
    queueTimeoutMs(config, timeoutMs) ?? Number.POSITIVE_INFINITY,
  );
  const deadlineUs = leftMs === Number.POSITIVE_INFINITY ? undefined : clock.nowUs() + leftMs * 1000;
  return { signal, deadlineUs, priority, tenant };
}

/** A request may only shorten the configured time, and only where the configuration allows it. */
function queueTimeoutMs(config: Loaded['config'], wantedMs: number | undefined): number | undefined {
  const { queueTimeoutMs: configuredMs, allowTimeoutOverride } = config;
  if (configuredMs === undefined || wantedMs === undefined) return configuredMs ?? wantedMs;
  return allowTimeoutOverride ? Math.min(configuredMs, wantedMs) : configuredMs;
}

function slowest(results: readonly ItemResult[], tokenizeUs: number): Timings {
  const timings: Timings = { queueUs: 0, tokenizeUs, computeUs: 0, postUs: 0 };
  for (const result of results) {
    timings.queueUs = Math.max(timings.queueUs, result.queueUs);
    timings.computeUs = Math.max(timings.computeUs, result.computeUs);
    timings.postUs = Math.max(timings.postUs, result.postUs);
  }
  return timings;
}
