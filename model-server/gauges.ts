import { Gauge, type Registry as PromRegistry } from 'prom-client';
import type { DeviceMemory } from './models/reports.ts';
import type { ModelVersion } from './models/version.ts';

/** What the gauges read. */
export interface Observed {
  versions: () => readonly ModelVersion[];
  memory: () => readonly DeviceMemory[];
}

/** Prometheus gauges of models and memory. They are read when they are scraped, so they can't go stale. */
export function addGauges(registry: PromRegistry, { versions, memory }: Observed): void {
  const perVersion = gaugesOf(registry, ['model', 'version'] as const, () =>
    versions().map((version) => {
      const { name, version: number } = version.files;
      return [{ model: name, version: String(number) }, version] as const;
    }),
  );
  perVersion('nereid_queue_items', 'Texts and raw requests that wait for a free instance.', ({ loaded }) =>
    loaded === undefined ? 0 : loaded.scheduler.queuedItems,
  );
  perVersion('nereid_queue_tokens', 'Tokens that wait for a free instance.', ({ loaded }) =>
    loaded === undefined ? 0 : loaded.scheduler.queuedTokens,
  );
  perVersion('nereid_model_ready', '1 when the model version is ready.', ({ state }) =>
    Number(state === 'ready'),
  );
  perVersion('nereid_model_leases', 'Requests that hold the model version now.', ({ leases }) => leases);
  perVersion(
    'nereid_instances_alive',
    'Instances that are idle or busy.',
    ({ instances }) => instances.filter(({ state }) => state === 'idle' || state === 'busy').length,
  );

  const perDevice = gaugesOf(registry, ['device'] as const, () =>
    memory().map((device) => [{ device: device.device }, device] as const),
  );
  perDevice(
    'nereid_memory_limit_bytes',
    'What models and server may take (0: unlimited).',
    (of) => of.limitBytes,
  );
  perDevice('nereid_memory_used_bytes', 'What the ledger says that is taken.', (of) => of.usedBytes);
  perDevice('nereid_memory_resident_bytes', 'What the system says that is taken.', (of) => of.residentBytes);

  const perRow = gaugesOf(registry, ['device', 'owner'] as const, () =>
    memory().flatMap(({ rows }) =>
      rows.map((row) => [{ device: row.device, owner: row.owner }, row] as const),
    ),
  );
  perRow(
    'nereid_model_memory_predicted_bytes',
    'What a version was expected to take.',
    (of) => of.predictedBytes,
  );
  perRow('nereid_model_memory_measured_bytes', 'What loading a version took.', (of) => of.measuredBytes);
}

function gaugesOf<Name extends string, Of>(
  registry: PromRegistry,
  labelNames: readonly Name[],
  entries: () => readonly (readonly [Record<Name, string>, Of])[],
) {
  return (name: string, help: string, read: (of: Of) => number) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        for (const [labels, of] of entries()) this.set(labels, read(of));
      },
    });
}
