import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { InFlight } from './api/grpc/call.ts';
import { listenGrpc } from './api/grpc/server.ts';
import { healthRoutes, metricsRoutes } from './api/http/routes.ts';
import { listenHttp } from './api/http/server.ts';
import type { ServerConfig } from './config.ts';
import { ServingError } from './errors.ts';
import { type Log, makeLog } from './log.ts';
import { type Metrics, makeMetrics } from './metrics.ts';
import { Registry } from './models/registry.ts';

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
 * The model server: config -> log -> metrics -> registry -> api -> listen.
 * @throws ServingError when a port is taken or no model could be loaded
 */
export async function run(config: ServerConfig): Promise<RunningServer> {
  const log = makeLog(config.logLevel);
  const metrics = makeMetrics();
  const state = { draining: false, version: packageVersion() };
  let updateHealth = () => {};
  // A model that gives up after its last crash takes the server's health with it; the pool decides after this call.
  const onCrash = () => setImmediate(() => updateHealth());
  const registry = makeRegistry(config, { log, metrics, onCrash });
  // Listening comes before loading, so that probes and clients get an answer that says what is going on.
  const api = await listen(config, { registry, log, metrics, state });
  const destroy = async () => {
    state.draining = true;
    api.destroy();
    await Promise.all([registry.destroy(), api.closeHttp()]);
  };
  try {
    await load(registry, log);
  } catch (error) {
    await destroy();
    throw error;
  }
  updateHealth = () => api.grpc.setServing(registry.ready && !state.draining);
  updateHealth();
  const ports = { grpcPort: api.grpc.port, httpPort: api.http.port, metricsPort: api.scrape.port };
  log.info({ host: config.host, ...ports }, 'ready');

  const drain = async () => {
    state.draining = true;
    api.grpc.setServing(false);
    await api.grpc.close();
    await registry.close();
    await api.closeHttp();
  };
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= withinDeadline(drain(), config.drainMs).then((inTime) => (inTime ? undefined : destroy()));
    return closing;
  };
  return { ...ports, close, destroy };
}

interface Deps {
  registry: Registry;
  log: Log;
  metrics: Metrics;
  state: { draining: boolean; version: string };
}

function makeRegistry(
  config: ServerConfig,
  { log, metrics, onCrash }: Pick<Deps, 'log' | 'metrics'> & { onCrash: () => void },
): Registry {
  const registry = new Registry({
    repository: config.modelRepository,
    defaults: { ...config, instances: config.instances || availableParallelism() },
    observe: (model, version) => {
      const observer = metrics.observe(model, version);
      const crashed = (respawnInMs: number | undefined) => {
        observer.crashed(respawnInMs);
        onCrash();
        log.error({ model, version, respawnInMs }, 'an instance died');
      };
      return { ...observer, crashed };
    },
  });
  metrics.watch(registry);
  return registry;
}

async function listen(config: ServerConfig, { registry, log, metrics, state }: Deps) {
  const { host, maxMessageBytes, maxInputsPerCall } = config;
  const http = await listenHttp(healthRoutes(registry, state), {
    host,
    port: config.httpPort,
    flag: '--http-port',
  });
  const closers = [http];
  try {
    const scrape = await listenHttp(metricsRoutes(metrics.registry), {
      host,
      port: config.metricsPort,
      flag: '--metrics-port',
    });
    closers.push(scrape);
    const deps = { registry, metrics, log, maxInputsPerCall, inFlight: new InFlight() };
    const grpc = await listenGrpc(deps, {
      host,
      port: config.grpcPort,
      maxMessageBytes,
      serverVersion: state.version,
    });
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

/** @throws ServingError when there is no model, or none that works */
async function load(registry: Registry, log: Log): Promise<void> {
  const failures = await registry.load();
  for (const failure of failures) log.error({ reason: failure.reason }, failure.message);
  if (failures.length === registry.models.length) {
    throw new ServingError(
      'MODEL_LOAD_FAILED',
      `no model could be loaded: ${failures.map(({ message }) => message).join('; ')}`,
    );
  }
  for (const { folder, instances, loadMs, space, state } of registry.models) {
    const { name: model, version } = folder;
    if (state === 'ready')
      log.info({ model, version, instances: instances.length, loadMs, space }, 'model loaded');
  }
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
