import type { Config } from '../config/config.ts';
import { reachableHost } from '../config/config.ts';
import type { BenchOptions } from './bench-options.ts';
import { grpcTimeout } from './grpc-words.ts';
import { lengthsText, readLengths } from './lengths.ts';
import type { LoadTarget, RunPlan } from './load-plan.ts';
import type { Random } from './random.ts';
import type { CountedPool, ServedModel } from './served-model.ts';
import { makeTexts, readTexts, type TextPool } from './texts.ts';

/** Different texts that are made; with their first words written anew they are far more. */
const POOL_TEXTS = 2048;
/** Calls that may be unanswered at a rate; beyond that the server is lost, and so would be the client's memory. */
const MOST_IN_FLIGHT = 20_000;
/** Longest wait for answers after a stretch, beyond the deadline. */
const GRACE_MS = 30_000;

/** The texts that the flags ask for, and how a person would write them. */
export async function poolOf(
  { texts, tokens }: BenchOptions,
  random: Random,
): Promise<{ pool: TextPool; lengths: string }> {
  if (texts !== undefined) return { pool: await readTexts(texts), lengths: `texts of ${texts}` };
  const mix = await readLengths(tokens);
  return { pool: makeTexts(POOL_TEXTS, mix, random), lengths: `texts of ${lengthsText(mix)}` };
}

/** How the flags want the load. */
export function runPlanOf(options: BenchOptions): RunPlan {
  const { rate, concurrency, timeoutMs, warmUpSecs, durationSecs } = options;
  return {
    arrivals:
      rate === undefined
        ? { kind: 'closed', concurrency }
        : { kind: 'open', ratePerSecond: rate, mostInFlight: MOST_IN_FLIGHT },
    warmUpMs: warmUpSecs * 1000,
    durationMs: durationSecs * 1000,
    timeoutMs,
    graceMs: timeoutMs + GRACE_MS,
  };
}

/** Where the flags and settings say that the server's doors are. */
export interface ServerUrls {
  grpc: string;
  http: string;
  metrics: string;
}

/** The server's doors; HTTP and metrics are on the host of the gRPC address unless told. */
export function serverUrls(
  config: Config,
  options: Pick<BenchOptions, 'httpUrl' | 'metricsUrl'>,
): ServerUrls {
  const { serverAddress, httpPort, metricsPort, host, origins } = config;
  const other = serverAddress.replace(/:\d+$/, '');
  const at = origins.serverAddress === undefined ? reachableHost(host) : other;
  return {
    grpc: `http://${serverAddress}`,
    http: options.httpUrl ?? `http://${at}:${httpPort}`,
    metrics: options.metricsUrl ?? `http://${at}:${metricsPort}/metrics`,
  };
}

export interface TargetOptions {
  options: BenchOptions;
  urls: ServerUrls;
  served: ServedModel;
  pool: CountedPool;
  random: Random;
}

/** The load on the server itself. */
export function servedTarget({ options, urls, served, pool, random }: TargetOptions): LoadTarget {
  const { over, mode, timeoutMs, textsPerCall } = options;
  const isGrpc = over === 'grpc';
  const deadline = isGrpc
    ? { 'grpc-timeout': grpcTimeout(timeoutMs) }
    : { 'connect-timeout-ms': String(Math.ceil(timeoutMs)) };
  return {
    door: isGrpc ? (mode === 'stream' ? 'grpc-stream' : 'grpc') : 'http',
    origin: isGrpc ? urls.grpc : urls.http,
    wire: { name: over === 'http-json' ? 'connect-json' : 'proto', model: served.name, tensors: 'text' },
    // A stream is one call, so that a deadline of its own would end all that comes on it.
    headers: { ...callerHeaders(options), ...(timeoutMs > 0 && mode === 'unary' ? deadline : {}) },
    pool: sendable(pool),
    rows: [],
    textsPerCall,
    dimension: served.dimension,
    firstText: firstText(random),
  };
}

/** The same load on the other server. */
export function againstTarget({ options, served, pool, random }: Omit<TargetOptions, 'urls'>): LoadTarget {
  const { against, protocol, againstModel, againstTensors, textsPerCall } = options;
  const sendsIds = protocol === 'kserve' && againstTensors === 'ids';
  return {
    door: 'http',
    origin: against!,
    wire: { name: protocol!, model: againstModel ?? served.name, tensors: againstTensors },
    headers: {},
    // Ids are encoded once: there are no words in them that could be written anew.
    pool: sendsIds ? { ...sendable(pool), variedWords: pool.texts.map(() => 0) } : sendable(pool),
    rows: sendsIds ? pool.rows : [],
    textsPerCall,
    dimension: undefined,
    firstText: firstText(random),
  };
}

function callerHeaders({ priority, tenant }: BenchOptions): Record<string, string> {
  return {
    ...(priority === undefined ? {} : { 'nereid-priority': priority }),
    ...(tenant === undefined ? {} : { 'nereid-tenant': tenant }),
  };
}

/** What the load needs of a pool; the ids would only be copied along. */
function sendable({ texts, tokens, variedWords }: CountedPool): TextPool {
  return { texts, tokens, variedWords };
}

/** Any start, so that a second run does not send what the first has left in a cache. */
function firstText(random: Random): number {
  return Math.floor(random() * 2 ** 31);
}
