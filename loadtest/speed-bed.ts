import { existsSync, rmSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LengthMix } from '../cli/bench/lengths.ts';
import { bestLimit, type Limit, latencyLayouts, throughputLayouts } from '../cli/bench/limit.ts';
import { LoadGenerator } from '../cli/bench/load-generator.ts';
import type { LoadTarget, RunPlan } from '../cli/bench/load-plan.ts';
import { seeded } from '../cli/bench/random.ts';
import {
  askServedModel,
  type CountedPool,
  countTokens,
  type ServedModel,
} from '../cli/bench/served-model.ts';
import { makeTexts } from '../cli/bench/texts.ts';
import { ModelServer } from '../cli/client/model-server.ts';
import type { ServerConfig } from '../model-server/config.ts';
import { type BenchServer, startServer } from './server.ts';

export type Precision = 'int8' | 'fp32';

const shipped = fileURLToPath(new URL('../model-repository', import.meta.url));
const POOL_TEXTS = 2048;
const TRIAL_MS = 1500;
const GRACE_MS = 30_000;

/** Lengths of texts in tokens. */
export const MIXES = {
  queries: [{ from: 5, to: 20, weight: 1 }],
  passages: [{ from: 40, to: 300, weight: 1 }],
  lone: [{ from: 12, to: 12, weight: 1 }],
} as const satisfies Record<string, LengthMix>;
export type MixName = keyof typeof MIXES;

/** What a load on the bed's server may differ in. */
export interface LoadShape {
  mode?: 'unary' | 'stream';
  textsPerCall?: number;
  headers?: Record<string, string>;
}

/** A running server of one precision, with texts whose tokens are counted. */
export interface Bedded {
  server: BenchServer;
  served: ServedModel;
  modelFile: string;
  pool(mix: MixName): Promise<CountedPool>;
  load(mix: MixName, shape?: LoadShape): Promise<LoadGenerator>;
  limit(mix: MixName, kind?: 'throughput' | 'latency'): Promise<Limit>;
}

/** Starts the servers that rows ask for, and ends all that was started. */
export class SpeedBed implements AsyncDisposable {
  readonly #fp32: string | undefined;
  readonly #random = seeded(42);
  readonly #beds = new Map<string, Promise<Bedded>>();
  readonly #started = new AsyncDisposableStack();

  /** @param fp32 folder with model.onnx and its tokenizer; undefined: none */
  constructor(fp32: string | undefined) {
    this.#fp32 = fp32;
  }

  get hasFp32(): boolean {
    return this.#fp32 !== undefined;
  }

  /** The server of a precision; settings make one of its own. */
  open(precision: Precision, settings: Partial<ServerConfig> = {}): Promise<Bedded> {
    const key = JSON.stringify([precision, settings]);
    const bed = this.#beds.get(key) ?? this.#start(precision, settings);
    this.#beds.set(key, bed);
    return bed;
  }

  /** A server that no other row has used. */
  fresh(precision: Precision): Promise<Bedded> {
    return this.#start(precision, {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#started.disposeAsync();
  }

  async #start(precision: Precision, settings: Partial<ServerConfig>): Promise<Bedded> {
    const modelRepository = precision === 'int8' ? shipped : await this.#fp32Repository();
    const server = await startServer({ ...settings, modelRepository });
    this.#started.defer(() => server.stop());
    const client = this.#started.use(new ModelServer(server.grpcAddress));
    const served = await askServedModel(client, '');
    const modelFile = join(modelRepository, served.name, String(served.version), 'model.onnx');
    const pools = new Map<MixName, Promise<CountedPool>>();
    const pool = (mix: MixName) => {
      const counted =
        pools.get(mix) ?? countTokens(client, makeTexts(POOL_TEXTS, MIXES[mix], this.#random), served);
      pools.set(mix, counted);
      return counted;
    };
    return {
      server,
      served,
      modelFile,
      pool,
      load: async (mix, shape = {}) => this.#load(targetOf(server, served, await pool(mix), shape)),
      limit: async (mix, kind = 'throughput') => this.#limit(modelFile, (await pool(mix)).rows, kind),
    };
  }

  async #load(target: LoadTarget): Promise<LoadGenerator> {
    return this.#started.use(await LoadGenerator.open(target, target.origin));
  }

  async #limit(modelFile: string, rows: CountedPool['rows'], kind: 'throughput' | 'latency'): Promise<Limit> {
    const cores = availableParallelism();
    const isLatency = kind === 'latency';
    const limit = await bestLimit(
      isLatency ? latencyLayouts(cores) : throughputLayouts(cores),
      { modelFile, rows, random: this.#random },
      {
        trialMs: TRIAL_MS,
        better: (a, b) => (isLatency ? a.medianMs < b.medianMs : a.tokensPerSecond > b.tokensPerSecond),
      },
    );
    return this.#started.use(limit);
  }

  /** A repository around the folder's files, for they lie flat in it. */
  async #fp32Repository(): Promise<string> {
    const repository = await mkdtemp(join(tmpdir(), 'nereid-speed-'));
    // Also when the run is ended by a signal; nothing asynchronous is done then.
    process.once('exit', () => rmSync(repository, { recursive: true, force: true }));
    const model = join(repository, 'fp32');
    await mkdir(join(model, '1'), { recursive: true });
    for (const name of await readdir(this.#fp32!))
      await cp(join(this.#fp32!, name), join(model, name === 'model.onnx' ? '1' : '', name), {
        recursive: true,
      });
    return repository;
  }
}

/** The folder of the fp32 model: the one that was named, else the one beside the checkout if it is there. */
export function fp32Folder(given: string | undefined): string | undefined {
  const folder = given ?? fileURLToPath(new URL('../../shared/models/all-minilm-l6-v2', import.meta.url));
  if (existsSync(join(folder, 'model.onnx'))) return folder;
  if (given === undefined) return undefined;
  throw new Error(`--fp32 ${given} has no model.onnx.`);
}

/** A closed loop, unless `more` says otherwise. */
export function planOf(seconds: number, concurrency: number, more: Partial<RunPlan> = {}): RunPlan {
  return {
    arrivals: { kind: 'closed', concurrency },
    warmUpMs: 1000,
    durationMs: seconds * 1000,
    timeoutMs: 0,
    graceMs: GRACE_MS,
    ...more,
  };
}

function targetOf(
  server: BenchServer,
  served: ServedModel,
  { texts, tokens, variedWords }: CountedPool,
  { mode = 'unary', textsPerCall = 1, headers = {} }: LoadShape,
): LoadTarget {
  return {
    door: mode === 'stream' ? 'grpc-stream' : 'grpc',
    origin: `http://${server.grpcAddress}`,
    wire: { name: 'proto', model: served.name, tensors: 'text' },
    headers,
    pool: { texts, tokens, variedWords },
    rows: [],
    textsPerCall,
    dimension: served.dimension,
    firstText: 0,
  };
}
