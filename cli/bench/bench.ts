import { availableParallelism, cpus } from 'node:os';
import { ModelServer } from '../client/model-server.ts';
import type { Config } from '../config/config.ts';
import { CommandFailure, exitCodes } from '../exit-codes.ts';
import type { BenchOptions } from './bench-options.ts';
import { againstTarget, poolOf, runPlanOf, type ServerUrls, servedTarget, serverUrls } from './bench-plan.ts';
import { bestLimit, type Limit, layoutText, throughputLayouts } from './limit.ts';
import { LoadGenerator } from './load-generator.ts';
import { findModelFile } from './model-file.ts';
import { type Random, seeded } from './random.ts';
import type { Heading } from './report.ts';
import { runRounds } from './rounds.ts';
import { askServedModel, type CountedPool, countTokens, type ServedModel } from './served-model.ts';
import { type Summary, summarise } from './summary.ts';

/** Length of the trial of each layout of the limit. */
const TRIAL_MS = 1500;

/** What a run is told, and whom it tells how far it is. */
export interface BenchRun {
  options: BenchOptions;
  config: Config;
  /** Ends the run early; what was measured is reported. */
  signal: AbortSignal;
  onProgress: (line: string) => void;
}

/**
 * Measures a running server under load, beside ONNX Runtime alone and another server if asked to.
 * @throws CommandFailure when a server is not there, or the run was ended before anything was measured
 */
export async function bench(run: BenchRun): Promise<{ heading: Heading; summary: Summary }> {
  const { options, config, signal, onProgress } = run;
  const urls = serverUrls(config, options);
  const random = seeded(Date.now());
  const { pool: made, lengths } = await poolOf(options, random);
  using server = new ModelServer(config.serverAddress);
  onProgress('asking which model is served');
  const served = await askServedModel(server, options.model ?? '');
  onProgress('counting tokens');
  const pool = await countTokens(server, made, served);
  using generator = await LoadGenerator.open(
    servedTarget({ options, urls, served, pool, random }),
    options.over === 'grpc' ? urls.grpc : urls.http,
  );
  using against =
    options.against === undefined
      ? null
      : await LoadGenerator.open(againstTarget({ options, served, pool, random }), options.against);
  await using limited = await limitOf({ run, urls, served, pool, random });
  const plan = runPlanOf(options);
  const rounds = await runRounds({
    served: { generator, metricsUrl: urls.metrics },
    against: against === null ? undefined : { generator: against },
    limit: limited.limit,
    plan,
    rounds: options.rounds,
    signal,
    onStep: ({ round, what }) => onProgress(`round ${round} of ${options.rounds}: ${STEPS[what]}`),
  });
  if (rounds.length === 0)
    throw new CommandFailure('ended before anything was measured.', { exitCode: exitCodes.interrupted });
  const heading: Heading = {
    served: `${served.name} version ${served.version} at ${options.over === 'grpc' ? urls.grpc : urls.http}`,
    against: options.against === undefined ? undefined : `${options.against} (${options.protocol})`,
    load: loadText(options, lengths),
    limit: limited.text,
    machine: `${availableParallelism()} cores, ${cpus()[0]?.model ?? 'unknown'}, Node ${process.versions.node}`,
    deadlineMs: options.timeoutMs,
  };
  return { heading, summary: summarise(rounds, availableParallelism()) };
}

const STEPS = { served: 'the server', against: 'the other server', limit: 'ONNX Runtime alone' };

/** The limit, opened in its best layout; or why there is none. */
interface Limited extends AsyncDisposable {
  limit: Limit | undefined;
  text: string;
}

async function limitOf(of: {
  run: BenchRun;
  urls: ServerUrls;
  served: ServedModel;
  pool: CountedPool;
  random: Random;
}): Promise<Limited> {
  const none = (text: string): Limited => ({
    limit: undefined,
    text,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
  const { options, config, signal, onProgress } = of.run;
  if (!options.limit) return none('not measured (--no-limit)');
  const found = findModelFile({
    given: options.modelFile,
    modelRepository: config.modelRepository,
    served: of.served,
    host: new URL(of.urls.grpc).hostname,
  });
  if ('why' in found) return none(found.why);
  onProgress('looking for the best layout of ONNX Runtime alone');
  try {
    const limit = await bestLimit(
      throughputLayouts(availableParallelism()),
      { modelFile: found.file, rows: of.pool.rows, random: of.random },
      { trialMs: TRIAL_MS, better: (a, b) => a.tokensPerSecond > b.tokensPerSecond, signal },
    );
    return {
      limit,
      text: `ONNX Runtime alone, ${layoutText(limit.layout)}, sorted by length`,
      [Symbol.asyncDispose]: () => limit[Symbol.asyncDispose](),
    };
  } catch (error) {
    return none(`not measured: ${found.file}: ${(error as Error).message}`);
  }
}

function loadText(options: BenchOptions, lengths: string): string {
  const { rate, concurrency, textsPerCall, mode, over, priority, tenant, timeoutMs } = options;
  const arrivals =
    rate === undefined ? `${concurrency} callers` : `${rate} calls a second (Poisson arrivals)`;
  return [
    `${arrivals}, ${textsPerCall} ${textsPerCall === 1 ? 'text' : 'texts'} a call, ${lengths}`,
    mode === 'stream' ? 'one gRPC stream' : over,
    ...(timeoutMs > 0 ? [`deadline ${timeoutMs} ms`] : []),
    ...(priority === undefined ? [] : [`priority ${priority}`]),
    ...(tenant === undefined ? [] : [`tenant ${tenant}`]),
    `${options.durationSecs} s after ${options.warmUpSecs} s of warm-up`,
  ].join('; ');
}
