import type { TensorSpec } from '../types.ts';
import type { VersionHost } from './host.ts';
import type { Model } from './model.ts';
import type { MemoryReport, SourcedValue, VersionDetails, VersionReport } from './reports.ts';
import type { ModelVersion } from './version.ts';
import type { PlacedVersion } from './versions.ts';

/**
 * All versions of a model as lists show them: those in their places in the order of `model.versions`, then what is not whole;
 * a model without any is one row without a version.
 */
export function reportsOf(model: Model, host: Pick<VersionHost, 'budgets'>): VersionReport[] {
  const waiting = new Map(
    model.folder.versions.flatMap((files) => (files.complete ? [] : [[files.version, files.why] as const])),
  );
  const reports = model.versions.map((placed) => reportOf(model, placed, { host, waiting }));
  const shown = new Set(reports.map(({ version }) => version));
  for (const [version, why] of waiting) {
    if (shown.has(version)) continue;
    const warnings = [...model.folder.problems];
    reports.push({ ...NOTHING_KNOWN, name: model.name, version, reason: why, warnings });
  }
  if (reports.length > 0) return reports;
  const reason =
    model.folder.problems.join('; ') || (model.wanted ? (model.shortcoming?.message ?? '') : 'not asked for');
  const complete = model.folder.versions.map(({ version }) => ({
    ...NOTHING_KNOWN,
    name: model.name,
    version,
    reason,
  }));
  return complete.length > 0 ? complete : [{ ...NOTHING_KNOWN, name: model.name, version: 0, reason }];
}

/** A version with its effective configuration and where each value came from. */
export function detailsOf(report: VersionReport, version: ModelVersion): VersionDetails {
  const { description } = version;
  return {
    ...report,
    folder: version.files.versionFolder,
    // What has been loaded knows more: how many instances and threads were found to be best.
    effectiveConfig: [...((version.loaded ?? description)?.origins ?? []), ...batchesOf(version)],
    inputs: description?.config.inputs.map(textOf) ?? [],
    outputs: description?.config.outputs.map(textOf) ?? [],
  };
}

/** How the batches of a loaded text model run, which only its graph could tell. */
function batchesOf({ loaded }: ModelVersion): SourcedValue[] {
  const head = loaded?.text?.head;
  if (head === undefined) return [];
  const value = head.packed ? 'packed, without padding' : `padded: ${head.whyPadded}`;
  return [{ field: 'batches', value, source: 'model.onnx' }];
}

const NOTHING_KNOWN: Omit<VersionReport, 'name' | 'version' | 'reason'> = {
  state: 'unloaded',
  served: false,
  answers: false,
  tasks: [],
  space: '',
  dimension: 0,
  maxTokens: 0,
  loadMs: 0,
  instances: [],
  memory: undefined,
  selfCheck: undefined,
  warnings: [],
};

function reportOf(
  model: Model,
  { version, served, problem }: PlacedVersion,
  { host, waiting }: { host: Pick<VersionHost, 'budgets'>; waiting: ReadonlyMap<number, string> },
): VersionReport {
  const { description, loaded, files } = version;
  const unfinished = waiting.get(files.version);
  const isServed = served || version === model.current;
  const drained = model.draining ? 'it is drained and takes no requests' : '';
  const newer = unfinished === undefined ? '' : `its folder is not complete: ${unfinished}`;
  return {
    name: files.name,
    version: files.version,
    state: version.state,
    reason: [version.reason, problem, newer, drained, whyDown(version)]
      .filter((text) => text !== '')
      .join('; '),
    // When none that is wanted works, an older one stands in.
    served: isServed,
    answers: isServed && model.wanted && !model.draining && canAnswer(version),
    tasks: description?.tasks ?? [],
    space: model.spaceOf(version),
    dimension: description?.dimension ?? 0,
    maxTokens: description?.config.task === 'tensors' ? 0 : (description?.config.maxTokens ?? 0),
    loadMs: version.loadMs,
    instances: version.instances,
    memory: memoryOf(version, host),
    selfCheck: loaded?.selfCheck,
    warnings: [
      ...(description?.warnings ?? []),
      ...(loaded?.selfCheck?.warnings ?? []),
      ...model.folder.problems,
    ],
  };
}

/** Why no instance works though the version is loaded; empty when one does. */
function whyDown({ loaded, instances, state }: ModelVersion): string {
  if (state !== 'ready' || loaded === undefined || loaded.pool.healthy) return '';
  const notes = [...new Set(instances.map(({ note }) => note))].filter((note) => note !== '');
  return ['no instance works at the moment', ...notes].join(': ');
}

/** What has served before is loaded again by its next request; what never has may turn out not to work. */
function canAnswer(version: ModelVersion): boolean {
  if (version.state === 'failed' || version.isImpaired) return false;
  return version.state !== 'loading' || version.everReady;
}

function memoryOf(version: ModelVersion, host: Pick<VersionHost, 'budgets'>): MemoryReport | undefined {
  if (version.loaded === undefined) return undefined;
  const all = host.budgets().flatMap((budget) => budget.rows());
  const rows = all.filter(({ owner }) => owner === version.owner);
  // What the old files of a version made goes when the new ones serve, and has come before them.
  return version.state === 'draining' ? rows[0] : rows.at(-1);
}

function textOf({ name, dataType, shape }: TensorSpec): string {
  return `${name} ${dataType} [${shape.join(', ')}]`;
}
