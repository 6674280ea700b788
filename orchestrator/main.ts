import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openModelServer } from './adapters/model-server.ts';
import { openSqlite } from './adapters/sqlite.ts';
import type { AnswerDeps, AnswerRequest } from './answer/answer.ts';
import { answer, answerOnce } from './answer/answer.ts';
import type { RagConfig } from './config.ts';
import { lockDataDir } from './data-lock.ts';
import { RagError } from './errors.ts';
import type { AppDeps } from './http/app.ts';
import { createApp } from './http/app.ts';
import { listenHttp } from './http/server.ts';
import { JobRunner } from './ingest/jobs.ts';
import { Staging } from './ingest/staging.ts';
import type { Log } from './log.ts';
import { makeLog } from './log.ts';
import { MeasuredPipeline } from './measured-pipeline.ts';
import type { Metrics } from './metrics.ts';
import { makeMetrics } from './metrics.ts';
import type { CallOptions, Llm, MetadataStore, VectorStore } from './ports.ts';
import { readinessCheck } from './readiness.ts';
import type { SearchRequest } from './retrieve/search.ts';
import { search } from './retrieve/search.ts';
import { ingestSamples } from './samples.ts';

/** Milliseconds that requests whose time is over have to say so. */
const lastWordsMs = 500;

export interface RunningOrchestrator {
  /** HTTP port that it listens on. */
  port: number;
  /** Takes no new requests, finishes the running ones within `shutdownMs`, and closes everything. */
  close(): Promise<void>;
  /** Stops at once; what runs fails. An ingest goes on at the next start. */
  destroy(): Promise<void>;
}

/**
 * The orchestrator: config -> log -> metrics -> stores -> model server -> jobs -> http -> listen. It starts without
 * the model server; `/readyz` says when that is there.
 * @throws RagError when the data folder is in use or broken, or the port is taken
 */
export async function run(config: RagConfig): Promise<RunningOrchestrator> {
  const log = makeLog(config.logLevel);
  const metrics = makeMetrics();
  await using opened = new AsyncDisposableStack();
  const parts = await openParts(config, { opened, log, metrics });
  const [draining, stopping] = [new AbortController(), new AbortController()];
  const signals = { draining: draining.signal, stopping: stopping.signal };
  const app = createApp({ ...appDeps(config, { ...parts, log, metrics }), ...signals });
  const http = opened.adopt(await listenHttp(app, config), (listening) => listening.close());
  const { vectors, llm, jobs } = parts;
  log.info(
    { host: config.host, port: http.port, vectors: vectors.description, llm: llm?.model },
    'listening',
  );
  if (config.samples) addSamples(parts, log);

  // From here on it is open for as long as the caller wants.
  const resources = opened.move();
  const abandon = (lingerMs: number) => {
    stopping.abort();
    void parts.modelServer.destroy();
    setTimeout(http.destroy, lingerMs).unref();
  };
  const shutDown = async () => {
    draining.abort();
    const timer = setTimeout(abandon, config.shutdownMs, lastWordsMs);
    // Ingests go on at the next start, so they need not be waited for like requests.
    await Promise.all([http.close(), jobs.close()]);
    await resources.disposeAsync();
    clearTimeout(timer);
    log.info('stopped');
  };
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= shutDown();
    return closing;
  };
  const destroy = () => {
    abandon(0);
    return close();
  };
  return { port: http.port, close, destroy };
}

type Parts = Awaited<ReturnType<typeof openParts>>;

interface Opening {
  /** Closes in reverse order what was opened. */
  opened: AsyncDisposableStack;
  log: Log;
  metrics: Metrics;
}

async function openParts(config: RagConfig, { opened, log, metrics }: Opening) {
  const { dataDir } = config;
  await makeDataDir(dataDir);
  opened.adopt(lockDataDir(dataDir), (lock) => lock.release());
  const metadata: MetadataStore = opened.adopt(
    openSqlite({ file: join(dataDir, 'nereid.sqlite') }),
    (store) => store.close(),
  );
  const vectors = opened.adopt(await openVectors(config), (store) => store.close());
  const modelServer = opened.adopt(
    openModelServer({
      address: config.serverAddress,
      connections: config.grpcConnections,
      embedModel: config.embedModel,
      rerankModel: config.rerankModel,
    }),
    (server) => server.close(),
  );
  const staging = await Staging.open(dataDir);
  const { embedder, reranker } = modelServer;
  const pipeline = new MeasuredPipeline(
    { embedder, vectors, metadata, staging },
    { ...config, log, metrics },
  );
  const { maxQueuedJobs } = config;
  const jobs = opened.adopt(new JobRunner(pipeline, { maxQueuedJobs, log }), (runner) => runner.close());
  await jobs.recover().catch((error: unknown) => {
    // The store is away, for example; readiness tells so, and what is left over goes at a later start.
    log.warn({ err: error }, 'could not clean up after the last stop');
  });
  jobs.start();
  metrics.watchJobs(() => metadata.countUnfinishedJobs());
  return { metadata, vectors, modelServer, embedder, reranker, staging, jobs, llm: await openChat(config) };
}

async function makeDataDir(dataDir: string): Promise<void> {
  await mkdir(dataDir, { recursive: true }).catch((error: Error) => {
    const message = `Can't make the data folder ${dataDir}: ${error.message}. Choose another with --data-dir.`;
    throw new RagError('STORE_UNAVAILABLE', message, { cause: error });
  });
}

/** Loads only the client that is used: each costs start-up time and memory. */
async function openVectors({ qdrantUrl, qdrantApiKey, dataDir }: RagConfig): Promise<VectorStore> {
  if (qdrantUrl) {
    const { openQdrant } = await import('./adapters/qdrant.ts');
    return openQdrant({ url: qdrantUrl, apiKey: qdrantApiKey });
  }
  const { openLanceDb } = await import('./adapters/lancedb.ts');
  return openLanceDb({ folder: join(dataDir, 'lancedb') });
}

/** None: answers are extractive. */
async function openChat({ llmBaseUrl, llmApiKey, llmModel }: RagConfig): Promise<Llm | undefined> {
  if (!llmBaseUrl) return undefined;
  if (!llmModel) {
    throw new RagError(
      'INVALID_INPUT',
      'LLM_BASE_URL is set but LLM_MODEL is not: say which model should answer.',
    );
  }
  const { openLlm } = await import('./adapters/llm-openai.ts');
  return openLlm({ baseUrl: llmBaseUrl, apiKey: llmApiKey, model: llmModel });
}

function appDeps(
  config: RagConfig,
  parts: Parts & { log: Log; metrics: Metrics },
): Omit<AppDeps, 'draining' | 'stopping'> {
  const { metadata, vectors, embedder, reranker, staging, jobs, llm, log, metrics } = parts;
  const find = async (request: SearchRequest, options: CallOptions) => {
    const found = await search({ embedder, reranker, vectors, metadata }, request, options);
    metrics.searchDone({ mode: found.mode, timings: found.timings, degraded: found.degraded.length });
    return found;
  };
  const answerDeps: AnswerDeps = {
    search: find,
    embedder,
    llm,
    contextTokens: config.llmContextTokens,
    answerTokens: config.llmAnswerTokens,
  };
  return {
    config,
    version: packageVersion(),
    log,
    metrics,
    jobs,
    staging,
    metadata,
    vectors,
    search: find,
    answer: (request: AnswerRequest, options) => answer(answerDeps, request, options),
    answerOnce: (request, options) => answerOnce(answerDeps, request, options),
    readiness: readinessCheck({ embedder, vectors, metadata }),
  };
}

/** In the background: nobody waits for the samples. */
function addSamples(parts: Parts, log: Log): void {
  ingestSamples(parts).then(
    (job) =>
      job && log.info({ job_id: job.id, documents: job.items.length }, 'ingesting the sample documents'),
    (error: unknown) => log.warn({ err: error }, 'the sample documents could not be ingested'),
  );
}

function packageVersion(): string {
  // From the source it is one folder up, from dist/orchestrator two.
  const folder = import.meta.url.endsWith('.ts') ? '../' : '../../';
  const text = readFileSync(new URL(`${folder}package.json`, import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
