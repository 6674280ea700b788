import type { Origins } from './origins.ts';
import type { Parameters } from './parameters.ts';
import type { TritonMessage } from './triton-schema.ts';

/** Instances of one kind. */
export interface InstanceGroup {
  /** Of each GPU, or in all on CPUs; undefined: the server's default. */
  count: number | undefined;
  kind: 'auto' | 'cpu' | 'gpu';
  /** Empty: all that there are. */
  gpus: number[];
}

/** Where and how the instances of a version run. */
export interface RunOptions {
  /** At least one. */
  instanceGroups: InstanceGroup[];
  isolation: 'thread' | 'process';
  /** Undefined: the server's default; -1: for ever. */
  keepAliveMs: number | undefined;
  preload: boolean | undefined;
  intraOpThreads: number | undefined;
  interOpThreads: number | undefined;
  /** Threads of one more instance on the CPU, for lone requests; undefined: there is none unless measuring finds one of use. */
  loneThreads: number | undefined;
  executionMode: 'sequential' | 'parallel';
  memArena: boolean;
  /** Undefined: the server's default. */
  packing: 'auto' | 'off' | undefined;
  graphLevel: 'basic' | 'extended' | 'all';
}

const GRAPH_LEVELS = { '-1': 'basic', 0: 'all', 1: 'extended' } as const;
const KINDS = { KIND_AUTO: 'auto', KIND_CPU: 'cpu', KIND_GPU: 'gpu' } as const;

const ANYWHERE: InstanceGroup = { count: undefined, kind: 'auto', gpus: [] };

/** A group as one says it: `2 x gpu 0+1`. */
function groupText({ count, kind, gpus }: InstanceGroup): string {
  return [count && `${count} x`, kind, gpus.join('+')].filter(Boolean).join(' ');
}

/** What `instance_group`, `optimization` and `parameters` say. */
export function readRunOptions(message: TritonMessage, values: Parameters, origins: Origins): RunOptions {
  const groups = message.instance_group.map(
    ({ count, kind, gpus }): InstanceGroup => ({
      count: count || undefined,
      kind: KINDS[(kind ?? 'KIND_AUTO') as keyof typeof KINDS],
      gpus: [...new Set(gpus)],
    }),
  );
  const instanceGroups = groups.length > 0 ? groups : [ANYWHERE];
  origins.fromFile(
    'instance_group',
    groups.length > 0 ? groups.map(groupText).join(', ') : undefined,
    'auto',
  );
  const level = message.optimization?.graph?.level;
  const parameter = <Value>(field: string, value: Value | undefined, fallback: Value) =>
    origins.parameterOr(field, value, { value: fallback, source: 'default' });
  const orServer = <Value>(field: string, value: Value | undefined) => {
    if (value === undefined) origins.orServer(field, undefined);
    else parameter(field, value, value);
    return value;
  };
  const { keepAliveMs, loneThreads } = values;
  if (loneThreads !== undefined) parameter('lone_threads', loneThreads, loneThreads);
  orServer(
    'keep_alive_secs',
    keepAliveMs === undefined || keepAliveMs < 0 ? keepAliveMs : keepAliveMs / 1000,
  );
  return {
    instanceGroups,
    graphLevel: origins.fromFile<RunOptions['graphLevel']>(
      'optimization.graph.level',
      level === undefined ? undefined : GRAPH_LEVELS[level],
      'all',
    ),
    isolation: parameter('isolation', values.isolation, 'thread'),
    keepAliveMs,
    preload: orServer('preload', values.preload),
    intraOpThreads: orServer('intra_op_thread_count', values.intraOpThreads),
    interOpThreads: orServer('inter_op_thread_count', values.interOpThreads),
    loneThreads,
    executionMode: parameter('execution_mode', values.executionMode, 'sequential'),
    memArena: parameter('enable_mem_arena', values.memArena, true),
    packing: orServer('packing', values.packing),
  };
}
