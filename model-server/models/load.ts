import { ServingError } from '../errors.ts';
import { Pool } from '../executor/pool.ts';
import { systemClock } from '../scheduler/clock.ts';
import { Scheduler, type SchedulerObserver } from '../scheduler/scheduler.ts';
import { TextTokenizer } from '../tasks/tokenizer.ts';
import type { BackendInfo, Reduction } from '../types.ts';
import { type ModelConfig, readModelConfig } from './model-config.ts';
import { hashSpace, type ModelFolder } from './repository.ts';

/** Server-wide defaults for what a model's config leaves open. */
export interface ModelDefaults {
  instances: number;
  intraOpThreads: number;
  maxBatchItems: number;
  maxBatchTokens: number;
  batchOverheadTokens: number;
  maxQueueItems: number;
  maxQueueTokens: number;
  maxRespawns: number;
}

export interface ModelObserver extends SchedulerObserver {
  crashed(respawnInMs: number | undefined): void;
}

/** All that a ready model version is made of. */
export interface Loaded {
  config: ModelConfig;
  tokenizer: TextTokenizer;
  /** Empty for models that make no vectors. */
  space: string;
  info: BackendInfo;
  pool: Pool;
  scheduler: Scheduler;
}

export interface OpenOptions {
  /** Model and version, for messages. */
  owner: string;
  defaults: ModelDefaults;
  observer?: ModelObserver | undefined;
}

/**
 * Opens a model version: its instances, tokenizer and scheduler, warmed up.
 * @throws ServingError MODEL_CONFIG_INVALID, MODEL_LOAD_FAILED; then nothing is left running
 */
export async function openModel(folder: ModelFolder, options: OpenOptions): Promise<Loaded> {
  const config = readModelConfig(folder.name, folder.folder);
  const pool = makePool(folder, config, options);
  // The threads open the model while this one reads the tokenizer and hashes the weights.
  const opening = pool.open();
  opening.catch(() => undefined);
  try {
    const tokenizer = TextTokenizer.load([folder.versionFolder, folder.folder]);
    const space = config.task === 'embed' ? await hashSpace(folder, config) : '';
    const info = await opening;
    checkOutput(options.owner, config, info);
    const loaded: Loaded = {
      config,
      tokenizer,
      space,
      info,
      pool,
      scheduler: makeScheduler(pool, config, options),
    };
    await warmUp(loaded);
    return loaded;
  } catch (error) {
    await pool.destroy();
    throw error;
  }
}

function makePool(
  folder: ModelFolder,
  config: ModelConfig,
  { owner, defaults, observer }: OpenOptions,
): Pool {
  return new Pool({
    owner,
    modelFile: folder.modelFile,
    instances: config.instances ?? defaults.instances,
    intraOpThreads: config.intraOpThreads ?? defaults.intraOpThreads,
    pooling: config.pooling,
    normalize: config.normalize,
    maxRespawns: defaults.maxRespawns,
    onCrash: ({ respawnInMs }) => observer?.crashed(respawnInMs),
  });
}

function makeScheduler(
  pool: Pool,
  config: ModelConfig,
  { owner, defaults, observer }: OpenOptions,
): Scheduler {
  const { maxBatchItems, maxBatchTokens, batchOverheadTokens, maxQueueItems, maxQueueTokens } = defaults;
  return new Scheduler(pool, {
    owner,
    batch: {
      maxItems: config.maxBatchItems ?? maxBatchItems,
      maxTokens: maxBatchTokens,
      overheadTokens: batchOverheadTokens,
    },
    queue: { maxItems: config.maxQueueItems ?? maxQueueItems, maxTokens: maxQueueTokens },
    queueDelayUs: config.queueDelayUs,
    clock: systemClock,
    observer,
  });
}

/** The first pass of a session is slow and shows whether the model works at all, so users don't get it. */
async function warmUp({ config, tokenizer, pool, scheduler }: Loaded): Promise<void> {
  const reduction: Reduction = config.task === 'embed' ? { kind: 'pooled' } : { kind: 'logits' };
  const [ids] = await tokenizer.idsOf(['warm up']);
  const input = { row: tokenizer.wrap(ids!, config.maxTokens).row, reduction };
  // With one input per instance the scheduler gives each idle instance a batch of one.
  await Promise.all(scheduler.submit(pool.states.map(() => input)));
}

function checkOutput(owner: string, config: ModelConfig, info: BackendInfo): void {
  if (config.task === 'embed' && info.dimension > 0) return;
  if (config.task === 'rerank' && info.labels === 1) return;
  const found = info.labels > 0 ? `a head of ${info.labels} labels` : `states of width ${info.dimension}`;
  const needed = config.task === 'embed' ? 'token states or a vector' : 'a head of one label';
  throw new ServingError(
    'MODEL_LOAD_FAILED',
    `${owner} has ${found}, but config.json makes it a model to ${config.task}, which needs ${needed}.`,
  );
}
