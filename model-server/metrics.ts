import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry as PromRegistry } from 'prom-client';
import type { ModelObserver } from './models/load.ts';
import type { Registry } from './models/registry.ts';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export interface Metrics {
  registry: PromRegistry;
  /** Where a model version tells what it does. */
  observe(model: string, version: number): ModelObserver;
  /** One finished call; `reason` is OK or a row of the error table. */
  requestDone(call: { method: string; reason: string; seconds: number }): void;
  /** Makes the gauges read the state of these models. */
  watch(models: Registry): void;
}

/** The Prometheus metrics of the model server. */
export function makeMetrics(): Metrics {
  const registry = new PromRegistry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const labels = { registers, labelNames: ['model', 'version'] as const };
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
    help: 'Texts in one batch.',
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
  const crashes = new Counter({
    ...labels,
    name: 'nereid_instance_crashes_total',
    help: 'Instances that died.',
  });
  return {
    registry,
    requestDone({ method, reason, seconds }) {
      requests.inc({ method, reason });
      duration.observe({ method }, seconds);
    },
    observe(model, versionNumber) {
      const of = { model, version: String(versionNumber) };
      return {
        itemQueued: (queueUs) => queue.observe(of, queueUs / 1e6),
        batchDone(batch) {
          rows.observe(of, batch.rows);
          compute.observe(of, batch.computeUs / 1e6);
          tokens.inc(of, batch.tokens);
          padding.inc(of, batch.paddedTokens - batch.tokens);
        },
        crashed: () => crashes.inc(of),
      };
    },
    watch: (models) => watchModels(registry, models),
  };
}

/** Gauges are read when they are scraped, so they can't go stale. */
function watchModels(registry: PromRegistry, models: Registry): void {
  const labelNames = ['model', 'version'] as const;
  const gauge = (name: string, help: string, read: (model: Registry['models'][number]) => number) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        for (const model of models.models) {
          this.set({ model: model.folder.name, version: String(model.folder.version) }, read(model));
        }
      },
    });
  gauge('nereid_queue_items', 'Texts that wait for a free instance.', (model) => model.queue.items);
  gauge('nereid_queue_tokens', 'Tokens that wait for a free instance.', (model) => model.queue.tokens);
  gauge('nereid_model_ready', '1 when the model version is ready.', (model) =>
    Number(model.state === 'ready'),
  );
  gauge(
    'nereid_instances_alive',
    'Instances that are idle or busy.',
    (model) =>
      model.instances.filter((instance) => instance.state === 'idle' || instance.state === 'busy').length,
  );
}
