import { readFileSync } from 'node:fs';
import { availableParallelism, homedir } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { type ApiDeps, InFlight } from './api/call.ts';
import { listenGrpc } from './api/grpc/server.ts';
import { adminRoutes } from './api/http/admin.ts';
import { healthRoutes, metricsRoutes } from './api/http/routes.ts';
import { listenHttp } from './api/http/server.ts';
import { servingRoutes } from './api/http/serving.ts';
import type { ServerConfig } from './config.ts';
import { ServingError } from './errors.ts';
import { childEnvironment } from './executor/child-environment.ts';
import { probeDevices } from './executor/probe-devices.ts';
import { addGauges } from './gauges.ts';
import { type Log, makeLog } from './log.ts';
import { addCacheMetrics, type Metrics, makeMetrics } from './metrics.ts';
import { Admin } from './models/admin.ts';
import { DiskTier } from './models/embedding-cache/disk-tier.ts';
import { EmbeddingCache } from './models/embedding-cache/embedding-cache.ts';
import type { Tuning } from './models/host.ts';
import { cacheFolder } from './models/layout/cache-folder.ts';
import { LayoutCache } from './models/layout/layout-cache.ts';
import { Lifecycle } from './models/lifecycle.ts';
import type { Names } from './models/registry.ts';

export interface RunningServer {
  grpcPort: number;
  httpPort: number;
  metricsPort: number;
  /** Not ready first, then finishes what runs, unloads and stops listening; after `drainMs` it stops waiting. */
  close(): Promise<void>;
  /** Stops at once; what runs fails. */
  destroy(): Promise<void>;
}

/**
 * The model server: config -> log -> metrics -> models -> api -> listen.
 * @throws ServingError when a port is taken or no model could be loaded
 */
export async function run(config: ServerConfig): Promise<RunningServer> {
  const log = makeLog(config.logLevel);
  const metrics = makeMetrics();
  const state = { draining: false, version: packageVersion() };
  let updateHealth = () => {};
  // A model that gives up after its last crash takes the server's health with it; the pool decides after this call.
  const onChange = () => setImmediate(() => updateHealth());
  const embeddingCache = makeEmbeddingCache(config, log);
  addCacheMetrics(metrics.registry, () => embeddingCache.figures);
  const lifecycle = makeLifecycle(config, { log, metrics, onChange, embeddingCache });
  const { strictReadiness } = config;
  const admin = new Admin({ lifecycle, strictReadiness, onReadiness: onChange });
  const versions = () =>
    lifecycle.registry.models.flatMap((model) => model.versions.map(({ version }) => version));
  addGauges(metrics.registry, { versions, memory: () => admin.memory() });
  // Listening comes before loading, so that probes and clients get an answer that says what is going on.
  const api = await listen(config, { lifecycle, admin, log, metrics, state });
  const destroy = async () => {
    state.draining = true;
    api.destroy();
    await Promise.all([lifecycle.destroy(), api.closeHttp()]);
    await admin.close();
    embeddingCache.close();
  };
  updateHealth = () => api.grpc.setServing(admin.readiness().ready && !state.draining);
  updateHealth();
  try {
    await load(lifecycle, { log, exitOnError: config.exitOnError });
  } catch (error) {
    await destroy();
    throw error;
  }
  updateHealth();
  const ports = { grpcPort: api.grpc.port, httpPort: api.http.port, metricsPort: api.scrape.port };
  log.info({ host: config.host, ...ports }, 'ready');

  const drain = async () => {
    state.draining = true;
    api.grpc.setServing(false);
    if (config.drainDelayMs > 0) await pause(config.drainDelayMs);
    await api.grpc.close();
    await lifecycle.close();
    await Promise.all([api.closeHttp(), admin.close()]);
    embeddingCache.close();
  };
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= withinDeadline(drain(), config.drainMs + config.drainDelayMs).then((inTime) =>
      inTime ? undefined : destroy(),
    );
    return closing;
  };
  return { ...ports, close, destroy };
}

interface Deps {
  lifecycle: Lifecycle;
  admin: Admin;
  log: Log;
  metrics: Metrics;
  state: { draining: boolean; version: string };
}

const MB = 1e6;

function makeLifecycle(
  config: ServerConfig,
  {
    log,
    metrics,
    onChange,
    embeddingCache,
  }: Pick<Deps, 'log' | 'metrics'> & { onChange: () => void; embeddingCache: EmbeddingCache },
): Lifecycle {
  const keepAliveMs = config.keepAliveSecs < 0 ? -1 : config.keepAliveSecs * 1000;
  const bytes = (mb: number) => (mb === 0 ? undefined : mb * MB);
  return new Lifecycle({
    repository: config.modelRepository,
    mode: config.modelControlMode,
    loadModels: namesOf(config.loadModel),
    preload: namesOf(config.preload),
    pollMs: config.repositoryPollSecs * 1000,
    defaults: {
      ...config,
      instances: config.instances || availableParallelism(),
      intraOpThreads: config.intraOpThreads || 1,
      fixed: { instances: config.instances > 0, intraOpThreads: config.intraOpThreads > 0 },
      keepAliveMs,
    },
    tuning: tuningOf(config, log),
    budgetBytes: bytes(config.memoryBudgetMb),
    gpuBudgetBytes: bytes(config.gpuMemoryBudgetMb),
    floorBytes: bytes(config.memoryFloorMb),
    memoryCheckMs: config.memoryCheckMs,
    residentBytes: () => process.memoryUsage.rss(),
    devices: probeDevices,
    childEnv: childEnvironment(process.env),
    onState: onChange,
    embeddingCache,
    observe: ({ name: model, version }) => {
      const observer = metrics.observe({ name: model, version });
      return {
        ...observer,
        crashed: (why, respawnInMs) => {
          observer.crashed(why, respawnInMs);
          onChange();
          log.error({ model, version, why, respawnInMs }, 'an instance died');
        },
      };
    },
    log,
  });
}

function makeEmbeddingCache(config: ServerConfig, log: Log): EmbeddingCache {
  const { embeddingCacheMb, embeddingCacheDir: folder, embeddingCacheDiskMb } = config;
  const ttlMs = config.embeddingCacheTtlSecs * 1000;
  const hasDisk = folder !== '' && embeddingCacheMb > 0;
  const disk = hasDisk
    ? new DiskTier({ folder, limitBytes: embeddingCacheDiskMb * MB, ttlMs, log })
    : undefined;
  return new EmbeddingCache({ budgetBytes: embeddingCacheMb * MB, ttlMs, disk });
}

function tuningOf({ tuneMs, cacheDir }: ServerConfig, log: Log): Tuning | undefined {
  if (tuneMs === 0) return undefined;
  const folder = cacheDir || cacheFolder(process.env.XDG_CACHE_HOME, homedir);
  return { tuneMs, cores: availableParallelism(), cache: new LayoutCache(folder, log) };
}

/** Names with commas between them; `all` and `*` are all of them, `none` and nothing none. */
function namesOf(text: string): Names {
  const names = text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== 'none');
  return names.includes('all') || names.includes('*') ? 'all' : new Set(names);
}

async function listen(config: ServerConfig, { lifecycle, admin, log, metrics, state }: Deps) {
  const { host, maxMessageBytes, maxInputsPerCall, adminKey } = config;
  const deps: ApiDeps = {
    serving: lifecycle.serving,
    admin,
    adminRule: { adminKey: adminKey || undefined, host },
    explicitControl: config.modelControlMode === 'explicit',
    serverVersion: state.version,
    metrics,
    log,
    maxInputsPerCall,
    inFlight: new InFlight(),
  };
  const http = await listenHttp(
    { ...healthRoutes(admin, state), ...servingRoutes(deps, { maxMessageBytes }), ...adminRoutes(deps) },
    { host, port: config.httpPort, flag: '--http-port' },
  );
  const closers = [http];
  try {
    const scrape = await listenHttp(
      metricsRoutes(metrics.registry, () => batchesOf(lifecycle)),
      {
        host,
        port: config.metricsPort,
        flag: '--metrics-port',
      },
    );
    closers.push(scrape);
    const grpc = await listenGrpc(deps, { host, port: config.grpcPort, maxMessageBytes });
    const closeHttp = async () => void (await Promise.all([http.close(), scrape.close()]));
    const destroy = () => {
      for (const listener of [grpc, http, scrape]) listener.destroy();
    };
    return { grpc, http, scrape, closeHttp, destroy };
  } catch (error) {
    await Promise.all(closers.map((listener) => listener.close()));
    throw error;
  }
}

/** The latest batches of each loaded version; times are in microseconds. */
function batchesOf({ registry }: Lifecycle): object {
  const versions = registry.models.flatMap((model) => model.versions.map(({ version }) => version));
  const models = versions.flatMap(({ files, loaded }) => {
    if (loaded === undefined) return [];
    const { costs } = loaded.scheduler;
    return [{ model: files.name, version: files.version, packed: costs.packed, batches: costs.samples }];
  });
  return { models };
}

/** @throws ServingError when nothing can be served or ever will be, or with `exitOnError` when anything fails */
async function load(
  lifecycle: Lifecycle,
  { log, exitOnError }: { log: Log; exitOnError: boolean },
): Promise<void> {
  const failures = await lifecycle.start();
  for (const failure of failures) log.error({ reason: failure.reason }, failure.message);
  const { mode, models } = lifecycle.registry;
  // In the other modes a model may yet be mended, or loaded by command.
  const isHopeless = mode === 'none' && models.every(({ current }) => current === undefined);
  if (failures.length === 0 || (!isHopeless && !exitOnError)) return;
  const what = isHopeless ? 'no model could be loaded' : 'a model could not be loaded (--exit-on-error)';
  throw new ServingError(
    'MODEL_LOAD_FAILED',
    `${what}: ${failures.map(({ message }) => message).join('; ')}`,
  );
}

/** @returns whether the work ended in time */
async function withinDeadline(work: Promise<void>, timeoutMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), timeoutMs);
  const inTime = await Promise.race([work.then(() => true), promise]);
  clearTimeout(timer);
  return inTime;
}

function packageVersion(): string {
  // From the source it is one folder up, from dist/model-server two.
  const folder = import.meta.url.endsWith('.ts') ? '../' : '../../';
  const text = readFileSync(new URL(`${folder}package.json`, import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
