import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry as PromRegistry } from 'prom-client';
import type { CacheFigures } from './models/embedding-cache/embedding-cache.ts';
import type { ModelObserver, VersionName } from './models/host.ts';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export interface Metrics {
  registry: PromRegistry;
  /** Where a model version tells what it does. */
  observe(version: VersionName): ModelObserver;
  /** One finished call; `reason` is OK or a row of the error table. */
  requestDone(call: { method: string; reason: string; seconds: number }): void;
}

/** The Prometheus metrics of the model server that are counted as things happen. */
export function makeMetrics(): Metrics {
  const registry = new PromRegistry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const requests = new Counter({
    name: 'nereid_requests_total',
    help: 'Finished gRPC calls (messages, for streams) by method and outcome.',
    registers,
    labelNames: ['method', 'reason'] as const,
  });
  const duration = new Histogram({
    name: 'nereid_request_duration_seconds',
    help: 'Time from the arrival of a call to its answer.',
    registers,
    labelNames: ['method'] as const,
    buckets: SECONDS,
  });
  const batches = batchMetrics(registry);
  const lifecycle = lifecycleMetrics(registry);
  return {
    registry,
    requestDone({ method, reason, seconds }) {
      requests.inc({ method, reason });
      duration.observe({ method }, seconds);
    },
    observe({ name, version }) {
      const of = { model: name, version: String(version) };
      return { ...batches(of), ...lifecycle(of) };
    },
  };
}

/** What the embedding cache saves. Its figures are read when they are scraped. */
export function addCacheMetrics(registry: PromRegistry, figures: () => CacheFigures): void {
  const registers = [registry];
  const counter = (name: string, help: string, figure: keyof CacheFigures) =>
    new Counter({
      name: `nereid_embedding_cache_${name}_total`,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(figures()[figure]);
      },
    });
  const gauge = (name: string, help: string, figure: keyof CacheFigures) =>
    new Gauge({
      name: `nereid_embedding_cache_${name}`,
      help,
      registers,
      collect() {
        this.set(figures()[figure]);
      },
    });
  counter('hits', 'Texts whose vector was kept, in memory or on disk.', 'hits');
  counter('disk_hits', 'Texts whose vector was kept on disk only.', 'diskHits');
  counter('misses', 'Texts that were computed.', 'misses');
  counter('joined', 'Texts that waited for the computation of an equal one.', 'joined');
  counter('evictions', 'Vectors that had to go from memory for others.', 'evictions');
  gauge('entries', 'Vectors in memory.', 'entries');
  gauge('bytes', 'Memory that these take.', 'bytes');
  gauge('disk_bytes', 'What vectors take of the file on disk.', 'diskBytes');
}

type Labels = { model: string; version: string };

/** What the batches of a version are like. */
function batchMetrics(registry: PromRegistry) {
  const labels = { registers: [registry], labelNames: ['model', 'version'] as const };
  const queue = new Histogram({
    ...labels,
    name: 'nereid_queue_seconds',
    help: 'Time a text waited for a free instance.',
    buckets: SECONDS,
  });
  const compute = new Histogram({
    ...labels,
    name: 'nereid_compute_seconds',
    help: 'Forward pass of one batch.',
    buckets: SECONDS,
  });
  const rows = new Histogram({
    ...labels,
    name: 'nereid_batch_items',
    help: 'Texts, or rows of raw tensors, in one batch.',
    buckets: [1, 2, 4, 8, 16, 32, 64, 128],
  });
  const tokens = new Counter({
    ...labels,
    name: 'nereid_tokens_total',
    help: 'Tokens computed, padding not included.',
  });
  const padding = new Counter({
    ...labels,
    name: 'nereid_padding_tokens_total',
    help: 'Padding tokens computed.',
  });
  const prediction = new Histogram({
    ...labels,
    name: 'nereid_batch_time_ratio',
    help: 'Time of a batch of texts as a share of what was predicted for it.',
    buckets: [0.25, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4],
  });
  return (of: Labels): Pick<ModelObserver, 'itemQueued' | 'batchDone'> => ({
    itemQueued: (queueUs) => queue.observe(of, queueUs / 1e6),
    batchDone(batch) {
      rows.observe(of, batch.rows);
      compute.observe(of, batch.computeUs / 1e6);
      tokens.inc(of, batch.tokens);
      padding.inc(of, batch.paddedTokens - batch.tokens);
      if (batch.predictedUs) prediction.observe(of, batch.computeUs / batch.predictedUs);
    },
  });
}

/** How versions come and go. */
function lifecycleMetrics(registry: PromRegistry) {
  const labels = { registers: [registry], labelNames: ['model', 'version'] as const };
  const crashes = new Counter({
    ...labels,
    name: 'nereid_instance_crashes_total',
    help: 'Instances that died or were ended because they no longer answered.',
  });
  const loads = new Histogram({
    ...labels,
    name: 'nereid_model_load_seconds',
    help: 'Time to load and warm up a version.',
    buckets: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  });
  const failures = new Counter({
    ...labels,
    name: 'nereid_model_load_failures_total',
    help: 'Loads that failed.',
  });
  const evictions = new Counter({
    ...labels,
    name: 'nereid_model_evictions_total',
    help: 'Times that a version was unloaded for want of memory or because it was idle.',
  });
  return (of: Labels): Omit<ModelObserver, 'itemQueued' | 'batchDone'> => ({
    crashed: () => crashes.inc(of),
    loaded: (loadMs) => loads.observe(of, loadMs / 1000),
    failed: () => failures.inc(of),
    evicted: () => evictions.inc(of),
  });
}
