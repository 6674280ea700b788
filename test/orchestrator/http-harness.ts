import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Express } from 'express';
import { afterEach } from 'vitest';
import { RagError } from '../../orchestrator/errors.ts';
import type { AppDeps } from '../../orchestrator/http/app.ts';
import { apiRoutes, createApp } from '../../orchestrator/http/app.ts';
import { errorBody } from '../../orchestrator/http/error-response.ts';
import type { Route } from '../../orchestrator/http/route.ts';
import { listenHttp } from '../../orchestrator/http/server.ts';
import type { JobEvent } from '../../orchestrator/ingest/job-event.ts';
import type { StagedInput } from '../../orchestrator/ingest/staged-input.ts';
import { Staging } from '../../orchestrator/ingest/staging.ts';
import { makeLog } from '../../orchestrator/log.ts';
import { makeMetrics } from '../../orchestrator/metrics.ts';
import type { DocumentRecord, JobItem, JobRecord } from '../../orchestrator/ports.ts';
import type { SearchResponse } from '../../orchestrator/retrieve/search.ts';

const now = '2026-01-01T00:00:00.000Z';

export const someHits: SearchResponse = {
  hits: [
    {
      document_id: 'a/b c',
      chunk_id: 'a/b c:r1:0',
      title: 'Bees',
      text: 'Bees make honey.',
      score: 0.5,
      page: 2,
      offsets: { start: 0, end: 16 },
      sources: { dense: { rank: 1, score: 0.9 }, keyword: { rank: 1, score: 3.2 } },
    },
  ],
  collection: 'default',
  mode: 'hybrid',
  score_kind: 'rrf',
  degraded: [],
  timings: { dense_ms: 1, keyword_ms: 1, fuse_ms: 0.1, total_ms: 2 },
};

/** Jobs that stay queued until a test settles them; documents are what was settled as ready. */
export class FakeJobs {
  readonly records = new Map<string, JobRecord>();
  readonly documents = new Map<string, DocumentRecord>();
  readonly submitted: StagedInput[][] = [];
  /** What `submit` throws. */
  refusal: RagError | undefined;
  /** Calls of `wait` and `events` so far. */
  listening = 0;
  #settled = new Map<string, PromiseWithResolvers<JobRecord>>();

  submit(collection: string, inputs: readonly StagedInput[]): JobRecord {
    if (this.refusal) throw this.refusal;
    this.submitted.push([...inputs]);
    const id = `job-${this.submitted.length}`;
    const items = inputs.map((input, index) => itemOf(input, index));
    const job: JobRecord = { id, collection, status: 'queued', items, createdAt: now, updatedAt: now };
    this.records.set(id, job);
    this.#settled.set(id, Promise.withResolvers());
    return structuredClone(job);
  }

  get(id: string): JobRecord | undefined {
    return this.records.get(id);
  }

  async wait(id: string, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<JobRecord> {
    this.listening += 1;
    const settled = this.#settled.get(id);
    if (!settled) throw new RagError('NOT_FOUND', id);
    const { promise, reject } = Promise.withResolvers<never>();
    signal?.addEventListener('abort', () => reject(RagError.from(signal.reason)));
    return Promise.race([settled.promise, promise]);
  }

  async *events(id: string, { signal }: { signal?: AbortSignal | undefined } = {}): AsyncGenerator<JobEvent> {
    const { items } = this.records.get(id)!;
    for (const { index, documentId, source } of items) {
      yield { type: 'item_started', jobId: id, index, documentId, source };
      yield { type: 'item_progress', jobId: id, index, documentId, stage: 'embed', done: 1, total: 1 };
    }
    const job = await this.wait(id, { signal }).catch(() => undefined);
    if (!job) return;
    for (const item of job.items) yield { type: 'item_settled', jobId: id, item };
    yield { type: 'job_settled', jobId: id, job };
  }

  /** Settles a job; the items of these indexes fail. */
  settle(id: string, failed: readonly number[] = []): void {
    const job = this.records.get(id)!;
    for (const item of job.items) {
      const bad = failed.includes(item.index);
      Object.assign(
        item,
        bad
          ? { status: 'failed', error: { reason: 'DOCUMENT_UNREADABLE', message: 'broken' } }
          : { status: 'ready', chunks: 1, embedded: 1 },
      );
      if (!bad) this.documents.set(item.documentId, documentOf(job, item));
    }
    job.status =
      failed.length === 0 ? 'succeeded' : failed.length === job.items.length ? 'failed' : 'partial';
    this.#settled.get(id)?.resolve(job);
  }

  async deleteDocument(_collection: string, id: string): Promise<boolean> {
    return this.documents.delete(id);
  }
}

function itemOf(input: StagedInput, index: number): JobItem {
  const {
    documentId = `doc-${index}`,
    title = '',
    source,
    mediaType,
    bytes,
    metadata = {},
    stagedFile,
  } = input;
  return { index, documentId, title, source, mediaType, bytes, metadata, stagedFile, status: 'queued' };
}

function documentOf(job: JobRecord, item: JobItem): DocumentRecord {
  const { documentId: id, title, source, mediaType, bytes, metadata } = item;
  const { collection } = job;
  const state = {
    fingerprint: 'f',
    revision: 'r',
    status: 'ready',
    chunks: 1,
    createdAt: now,
    updatedAt: now,
  } as const;
  return { collection, id, title, source, mediaType, bytes, metadata, ...state };
}

export interface TestApp {
  app: Express;
  routes: Route[];
  url: string;
  port: number;
  jobs: FakeJobs;
  /** Names of the files in the staging area. */
  staged(): Promise<string[]>;
  drain(): void;
  stop(): void;
}

type Overrides = Partial<Omit<AppDeps, 'config'>> & { config?: Partial<AppDeps['config']> };

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** The HTTP side on a free port, with jobs, search and answers faked. */
export async function startApp(overrides: Overrides = {}): Promise<TestApp> {
  const folder = await mkdtemp(join(tmpdir(), 'nereid-http-'));
  const staging = await Staging.open(folder);
  const jobs = new FakeJobs();
  const [draining, stopping] = [new AbortController(), new AbortController()];
  const part = { ready: true, message: 'fake' };
  const deps: AppDeps = {
    config: {
      host: '127.0.0.1',
      maxDocuments: 50,
      maxJsonBytes: 64 * 1024,
      maxRequestBytes: 1024 * 1024,
      maxUploadBytes: 256 * 1024,
      maxUploadFiles: 3,
      requestTimeoutMs: 30_000,
      ...overrides.config,
    },
    version: '0.0.0',
    log: makeLog('silent'),
    metrics: makeMetrics(),
    jobs,
    staging,
    metadata: {
      getDocument: (_collection, id) => jobs.documents.get(id),
      listDocuments: (_collection, { limit, offset }) => {
        const all = [...jobs.documents.values()];
        return { documents: all.slice(offset, offset + limit), total: all.length };
      },
    },
    vectors: { listCollections: async () => [{ name: 'default', dimension: 3, space: 's' }] },
    search: async () => someHits,
    answer: async function* () {},
    answerOnce: () => Promise.reject(new RagError('INTERNAL', 'no answer in this test')),
    readiness: async () => ({ model_server: part, vector_store: part, metadata_store: part }),
    draining: draining.signal,
    stopping: stopping.signal,
    ...withoutConfig(overrides),
  };
  const app = createApp(deps);
  const listening = await listenHttp(app, { host: '127.0.0.1', port: 0 });
  cleanups.push(async () => {
    listening.destroy();
    await listening.close();
    await rm(folder, { recursive: true });
  });
  const { port } = listening;
  return {
    app,
    routes: apiRoutes(deps),
    url: `http://127.0.0.1:${port}`,
    port,
    jobs,
    staged: () => readdir(staging.folder),
    drain: () => draining.abort(),
    stop: () => stopping.abort(),
  };
}

function withoutConfig({ config: _, ...rest }: Overrides): Partial<AppDeps> {
  return rest;
}

export interface Answer {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests read what the schema has checked
  body: any;
}

/** A request whose answer is checked against the schema that the route table declares for its status. */
export async function call(
  app: TestApp,
  method: string,
  path: string,
  init: RequestInit & { json?: unknown } = {},
): Promise<Answer> {
  const { json, ...rest } = init;
  const sent =
    json === undefined
      ? rest
      : {
          ...rest,
          body: JSON.stringify(json),
          headers: { 'content-type': 'application/json', ...rest.headers },
        };
  const response = await fetch(app.url + path, { method, ...sent });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.startsWith('application/json') ?? false;
  const body = isJson ? JSON.parse(text) : text;
  const { pathname } = new URL(app.url + path);
  const route = app.routes.find((one) => one.method === method.toLowerCase() && matches(one.path, pathname));
  const declared =
    route?.responses[response.status]?.json ?? (response.status >= 400 ? errorBody : undefined);
  const schema = isJson || response.status >= 400 ? declared : undefined;
  if (schema) schema.parse(body);
  return { status: response.status, headers: response.headers, body };
}

function matches(pattern: string, pathname: string): boolean {
  return new RegExp(`^${pattern.replace(/\{\w+\}/g, '[^/]+')}$`).test(pathname);
}
