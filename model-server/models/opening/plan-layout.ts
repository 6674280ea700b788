import type { Description } from '../describe.ts';
import type { VersionHost } from '../host.ts';
import { type Layout, layoutsFor } from '../layout/layout.ts';
import type { MeasuredLayout } from '../layout/layout-cache.ts';
import { layoutKey } from '../layout/layout-key.ts';
import type { SourcedValue } from '../reports.ts';
import type { CompleteVersion } from '../repository/version-files.ts';
import { sessionSettings } from './session-settings.ts';
import { shapesToTime } from './shapes-to-time.ts';

/** The layout of a version on the CPU, and how it was found. */
export interface LayoutPlan {
  layout: Layout;
  /** Where instances, threads and those for lone requests come from: `config.pbtxt ...`, a flag, `cache of ...`, `default`. */
  sources: { instances: string; threads: string; lone: string };
  /** The figures that it rests on, in words; empty where nobody has measured. */
  evidence: string;
  /** What else may be tried, and the name under which the outcome is remembered; absent where nothing is to be measured. */
  toTune?: { others: Layout[]; key: string } | undefined;
}

export interface LayoutQuestion {
  files: CompleteVersion;
  host: VersionHost;
  /** Instances on the CPU by configuration and settings. */
  instances: number;
  /** What a layout is predicted to take. */
  bytesOf: (layout: Layout) => number;
}

/**
 * What instances and threads a version on the CPU begins with: those that its configuration or the operator names, else what
 * was measured on this machine before, else one thread for each core, or as few as fit into memory.
 */
export async function planLayout(description: Description, question: LayoutQuestion): Promise<LayoutPlan> {
  const { files, host, bytesOf } = question;
  const { tuning, defaults } = host;
  if (tuning === undefined || tuning.cores === 1 || !isOpen(description, host))
    return fixedLayout(description, question);
  const fits = (layout: Layout) => host.budgetOf('cpu').fits(bytesOf(layout));
  const key = layoutKey({
    cores: tuning.cores,
    session: sessionSettings(description, files, defaults),
    shapes: shapesToTime(description, defaults),
  });
  const remembered = await tuning.cache.find(key);
  if (remembered !== undefined && isPossible(remembered.layout, tuning.cores) && fits(remembered.layout))
    return asRemembered(remembered);
  const all = layoutsFor(tuning.cores);
  // Where not even the smallest fits, the refusal of the usual one says what is missing.
  const first = all.find(fits) ?? all[0]!;
  const others = all.filter((layout) => layout !== first && fits(layout));
  const toTune = others.length > 0 ? { others, key } : undefined;
  return { layout: first, sources: allFrom('default'), evidence: '', toTune };
}

/** The layout and its sources as the list of values that are in force, in place of what the configuration leaves open. */
export function withLayout(
  origins: readonly SourcedValue[],
  { layout, sources }: LayoutPlan,
): SourcedValue[] {
  const rows: SourcedValue[] = [
    { field: 'instances', value: String(layout.instances), source: sources.instances },
    { field: 'threads', value: String(layout.threads), source: sources.threads },
    { field: 'lone_threads', value: String(layout.lone ?? 'none'), source: sources.lone },
  ];
  const fields = rows.map(({ field }) => field);
  return [...origins.filter(({ field }) => !fields.includes(field)), ...rows];
}

/** The same source for all three. */
export function allFrom(source: string): LayoutPlan['sources'] {
  return { instances: source, threads: source, lone: source };
}

/** Whether configuration and operator leave the layout open, and it can be timed: with texts, in threads of this process. */
function isOpen({ config }: Description, { defaults: { fixed } }: VersionHost): boolean {
  const isNamed =
    config.instanceGroups.length > 1 ||
    config.instanceGroups.some(({ count }) => count !== undefined) ||
    [config.intraOpThreads, config.interOpThreads, config.loneThreads].some((value) => value !== undefined) ||
    fixed?.instances ||
    fixed?.intraOpThreads;
  return (
    !isNamed &&
    config.isolation === 'thread' &&
    config.executionMode === 'sequential' &&
    config.task !== 'tensors'
  );
}

function fixedLayout({ config, origins }: Description, { host, instances }: LayoutQuestion): LayoutPlan {
  const { fixed, intraOpThreads } = host.defaults;
  const sourceOf = (field: string) => origins.find((origin) => origin.field === field)?.source ?? 'default';
  const isCounted = config.instanceGroups.some(({ count }) => count !== undefined);
  const flagOr = (isSet: boolean | undefined, flag: string) => (isSet ? flag : 'default');
  return {
    layout: { instances, threads: config.intraOpThreads ?? intraOpThreads, lone: config.loneThreads },
    sources: {
      instances: isCounted ? sourceOf('instance_group') : flagOr(fixed?.instances, '--instances'),
      threads:
        config.intraOpThreads === undefined
          ? flagOr(fixed?.intraOpThreads, '--intra-op-threads')
          : sourceOf('intra_op_thread_count'),
      lone: sourceOf('lone_threads'),
    },
    evidence: '',
  };
}

function asRemembered({ layout, evidence, date }: MeasuredLayout): LayoutPlan {
  // Without figures it is what a version begins with, and there was no time to find a better one.
  return {
    layout,
    sources: allFrom(evidence === '' ? 'default' : `cache of ${date.slice(0, 10)}`),
    evidence,
  };
}

/** A file that was edited by hand may ask for more than there is. */
function isPossible({ instances, threads, lone = 1 }: Layout, cores: number): boolean {
  return instances * threads <= cores && lone <= cores;
}
