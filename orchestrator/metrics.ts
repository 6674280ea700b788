import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { SearchTimings } from './retrieve/search.ts';

const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export interface Metrics {
  registry: Registry;
  /** One finished HTTP request; `route` is the path's pattern, status 499 a caller who went away. */
  requestDone(request: { method: string; route: string; status: number; seconds: number }): void;
  /** One document whose ingest ended; `embedded` counts the chunks that had to be computed. */
  documentSettled(document: { status: string; embedded: number }): void;
  searchDone(search: { mode: string; timings: SearchTimings; degraded: number }): void;
  answerDone(answer: { mode: string; found: boolean; seconds: number }): void;
  /** Makes the gauge of unfinished jobs read this. */
  watchJobs(count: () => number): void;
}

/** The Prometheus metrics of the orchestrator. */
export function makeMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const requests = new Histogram({
    name: 'nereid_rag_http_request_duration_seconds',
    help: 'Time from the arrival of a request to the end of its answer, by route pattern and status.',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: seconds,
    registers,
  });
  const documents = new Counter({
    name: 'nereid_rag_documents_total',
    help: 'Documents whose ingest ended, by outcome.',
    labelNames: ['status'] as const,
    registers,
  });
  const embedded = new Counter({
    name: 'nereid_rag_chunks_embedded_total',
    help: 'Chunks that had to be embedded; unchanged ones are not counted.',
    registers,
  });
  const stages = new Histogram({
    name: 'nereid_rag_search_stage_seconds',
    help: 'Time of each stage of a search, by stage and mode.',
    labelNames: ['stage', 'mode'] as const,
    buckets: seconds,
    registers,
  });
  const degraded = new Counter({
    name: 'nereid_rag_degraded_searches_total',
    help: 'Searches that went on without a source or the reranker.',
    registers,
  });
  const answers = new Histogram({
    name: 'nereid_rag_answer_seconds',
    help: 'Time of a whole answer, by how it was made and whether anything was found.',
    labelNames: ['mode', 'found'] as const,
    buckets: seconds,
    registers,
  });
  return {
    registry,
    requestDone: ({ status, seconds: took, ...labels }) =>
      requests.observe({ ...labels, status: String(status) }, took),
    documentSettled({ status, embedded: chunks }) {
      documents.inc({ status });
      embedded.inc(chunks);
    },
    searchDone({ mode, timings, degraded: lost }) {
      for (const [key, ms] of Object.entries(timings)) {
        if (ms !== undefined) stages.observe({ stage: key.replace(/_ms$/, ''), mode }, ms / 1000);
      }
      if (lost > 0) degraded.inc();
    },
    answerDone: ({ mode, found, seconds: took }) => answers.observe({ mode, found: String(found) }, took),
    watchJobs(count) {
      new Gauge({
        name: 'nereid_rag_unfinished_jobs',
        help: 'Ingest jobs that wait or run.',
        registers,
        collect() {
          this.set(count());
        },
      });
    },
  };
}
