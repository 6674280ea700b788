import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EmbedService, type ModelInfo, ModelService, VectorEncoding } from '../../proto/gen/serving_pb.js';
import { ModelServer } from '../client/model-server.ts';
import { type Config, serverConfig } from '../config/config.ts';
import type { Check } from './check.ts';

/** Reference vectors that lie beside a model. */
interface Golden {
  reference: string;
  /** Least cosine that the model's precision allows. */
  minCosine: number;
  cases: { text: string; embedding: number[] }[];
}

/** Execution providers, the models' states, and their vectors against the reference. */
export async function modelChecks(config: Config): Promise<Check[]> {
  const backends = await backendCheck();
  if (backends.status === 'fail') return [backends];
  try {
    await using server = await serverToAsk(config);
    const { models } = await server.client.call(ModelService.method.listModels, {});
    const checks: Check[] = [];
    for (const model of models) checks.push(await modelCheck(model, server, config));
    if (models.length === 0) checks.push(noModels(config));
    return [withChoice(backends, models), ...checks];
  } catch (error) {
    const advice = 'correct what the message names; --model-repository chooses another folder';
    return [backends, { name: 'models', status: 'fail', found: (error as Error).message, advice }];
  }
}

async function backendCheck(): Promise<Check> {
  const name = 'execution providers';
  try {
    const { listSupportedBackends } = await import('onnxruntime-node');
    const backends = listSupportedBackends();
    const bundled = backends.filter((backend) => backend.bundled).map((backend) => backend.name);
    const others = backends.filter((backend) => !backend.bundled).map((backend) => backend.name);
    const found = [
      bundled.join(', '),
      ...(others.length > 0 ? [`not installed: ${others.join(', ')}`] : []),
    ].join('; ');
    return { name, status: 'ok', found, data: { available: bundled, not_installed: others } };
  } catch (error) {
    const advice =
      'run npm ci again on this machine; onnxruntime-node ships one native library for each platform';
    return {
      name,
      status: 'fail',
      found: `ONNX Runtime can't be loaded: ${(error as Error).message}`,
      advice,
    };
  }
}

function withChoice(backends: Check, models: readonly ModelInfo[]): Check {
  const chosen = [
    ...new Set(models.flatMap(({ instances }) => instances.map((one) => one.executionProvider))),
  ].filter(Boolean);
  if (chosen.length === 0) return backends;
  return {
    ...backends,
    found: `${backends.found}; chosen: ${chosen.join(', ')} (by instance_group and --execution-provider)`,
    data: { ...backends.data, chosen },
  };
}

interface Asked extends AsyncDisposable {
  client: ModelServer;
  /** For the report. */
  which: string;
}

/** The server that runs already, or one of our own on free ports for as long as the check takes. */
async function serverToAsk(config: Config): Promise<Asked> {
  const running = new ModelServer(config.serverAddress);
  try {
    await running.call(ModelService.method.listModels, {}, 2_000);
    return {
      client: running,
      which: `the server at ${running.address}`,
      [Symbol.asyncDispose]: async () => running[Symbol.dispose](),
    };
  } catch {
    running[Symbol.dispose]();
  }
  const { run } = await import('../../model-server/main.ts');
  const free = { host: '127.0.0.1', grpcPort: 0, httpPort: 0, metricsPort: 0 };
  const own = await run({ ...serverConfig(config), ...free, instances: 1, logLevel: 'silent' });
  const client = new ModelServer(`127.0.0.1:${own.grpcPort}`);
  const dispose = async () => {
    client[Symbol.dispose]();
    await own.close();
  };
  return { client, which: 'a server started for this check', [Symbol.asyncDispose]: dispose };
}

async function modelCheck(model: ModelInfo, { client, which }: Asked, config: Config): Promise<Check> {
  const name = `model ${model.name}`;
  const data = { model: model.name, version: model.version, state: model.state, space: model.space };
  const state = `version ${model.version} ${model.state}`;
  // One that is served but not loaded is loaded by its first request, the one below.
  if (model.state !== 'ready' && !(model.state === 'unloaded' && model.served)) {
    return {
      name,
      status: 'fail',
      found: `${state}: ${model.reason}`,
      advice: 'correct the model, or remove its folder',
      data,
    };
  }
  const folder = join(config.modelRepository, model.name);
  const golden =
    readGolden(join(folder, String(model.version), 'golden.json')) ?? readGolden(join(folder, 'golden.json'));
  if (golden === undefined || !model.tasks.includes('embed')) {
    return {
      name,
      status: 'ok',
      found: `${state}, ${model.tasks.join(', ')} (no golden.json to check it against)`,
      data,
    };
  }
  const reply = await client.call(
    EmbedService.method.embed,
    {
      model: model.name,
      version: model.version,
      inputs: golden.cases.map(({ text }) => text),
      encoding: VectorEncoding.FLOATS,
    },
    60_000,
  );
  const cosines = golden.cases.map(({ embedding }, index) =>
    cosine(embedding, reply.embeddings[index]?.values ?? []),
  );
  const least = Math.min(...cosines);
  const found = `${state}; ${cosines.length} texts against ${golden.reference}: least cosine ${least.toFixed(4)} (${which})`;
  const checked = { ...data, cases: cosines.length, least_cosine: least, needed_cosine: golden.minCosine };
  const warnings = model.warnings.join('; ');
  if (least >= golden.minCosine)
    return warnings === ''
      ? { name, status: 'ok', found, data: checked }
      : { name, status: 'warn', found, advice: warnings, data: checked };
  const advice = `it must be at least ${golden.minCosine}: the model, its tokenizer or this machine's ONNX Runtime is not what was tested`;
  return { name, status: 'fail', found, advice, data: checked };
}

function noModels({ modelRepository }: Config): Check {
  const advice =
    'put a model there as <name>/<version>/model.onnx, or name another folder with --model-repository';
  return { name: 'models', status: 'fail', found: `there is none in ${modelRepository}`, advice };
}

function readGolden(path: string): Golden | undefined {
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Golden) : undefined;
}

/** 0 when the lengths differ. */
export function cosine(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) return 0;
  let [dot, aa, bb] = [0, 0, 0];
  for (const [index, value] of a.entries()) {
    dot += value * b[index]!;
    aa += value ** 2;
    bb += b[index]! ** 2;
  }
  return dot / Math.sqrt(aa * bb || 1);
}
