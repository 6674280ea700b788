import type { Pooling } from '../../types.ts';
import { nearest } from './nearest.ts';
import type { TritonMessage } from './triton-schema.ts';

/** What config.pbtxt's `parameters` say; undefined where they say nothing. */
export interface Parameters {
  intraOpThreads?: number | undefined;
  interOpThreads?: number | undefined;
  loneThreads?: number | undefined;
  executionMode?: 'sequential' | 'parallel';
  memArena?: boolean;
  isolation?: 'thread' | 'process';
  packing?: 'auto' | 'off';
  keepAliveMs?: number;
  preload?: boolean;
  maxTokens?: number;
  pooling?: Pooling;
  normalize?: boolean;
}

export interface ReadParameters {
  values: Parameters;
  problems: string[];
  warnings: string[];
}

interface Kind {
  /** In words, for the error. */
  allowed: string;
  /** Undefined when the value is not allowed. */
  read(value: string): Parameters | undefined;
}

function choice<Value extends string>(field: keyof Parameters, values: Record<Value, unknown>): Kind {
  return {
    allowed: Object.keys(values).join(', '),
    read: (value) => (Object.hasOwn(values, value) ? { [field]: values[value as Value] } : undefined),
  };
}

function wholeNumber(field: keyof Parameters, least: number, most: number): Kind {
  return {
    allowed: `a whole number from ${least} to ${most}`,
    read: (value) => {
      const number = /^\d{1,9}$/.test(value) ? Number(value) : -1;
      return number >= least && number <= most ? { [field]: number } : undefined;
    },
  };
}

/** 0 leaves the number to the server, as in ONNX Runtime; of an instance for lone requests there is none by itself. */
function threads(field: 'intraOpThreads' | 'interOpThreads' | 'loneThreads'): Kind {
  const kind = wholeNumber(field, 0, 1024);
  const read = (value: string) => {
    const parameters = kind.read(value);
    return parameters?.[field] === 0 ? { [field]: undefined } : parameters;
  };
  return { ...kind, read };
}

const LONGEST_KEEP_ALIVE_SECS = 31_536_000;
const keepAlive: Kind = {
  allowed: `seconds from 0 to ${LONGEST_KEEP_ALIVE_SECS}, or -1 for always`,
  read: (value) => {
    if (value === '-1') return { keepAliveMs: -1 };
    const seconds = /^\d{1,9}(\.\d{1,3})?$/.test(value) ? Number(value) : Infinity;
    return seconds <= LONGEST_KEEP_ALIVE_SECS ? { keepAliveMs: Math.round(seconds * 1000) } : undefined;
  },
};

const KINDS: Record<string, Kind> = {
  intra_op_thread_count: threads('intraOpThreads'),
  inter_op_thread_count: threads('interOpThreads'),
  lone_threads: threads('loneThreads'),
  execution_mode: choice('executionMode', {
    0: 'sequential',
    1: 'parallel',
    sequential: 'sequential',
    parallel: 'parallel',
  }),
  enable_mem_arena: choice('memArena', { 0: false, 1: true, false: false, true: true }),
  isolation: choice('isolation', { thread: 'thread', process: 'process' }),
  packing: choice('packing', { auto: 'auto', off: 'off' }),
  keep_alive_secs: keepAlive,
  preload: choice('preload', { true: true, false: false }),
  max_tokens: wholeNumber('maxTokens', 1, 1_000_000),
  pooling: choice('pooling', { mean: 'mean', cls: 'cls', max: 'max' }),
  normalize: choice('normalize', { true: true, false: false }),
};

/** Parameters of Triton's ONNX Runtime backend that would change how a model runs, but can't be set here. */
const REFUSED = [
  'enable_mem_pattern',
  'memory.enable_memory_arena_shrinkage',
  'gpu_mem_limit',
  'arena_extend_strategy',
  'cudnn_conv_algo_search',
  'cudnn_conv_use_max_workspace',
  'do_copy_in_default_stream',
  'session.use_device_allocator_for_initializers',
  'tunable_op_enable',
  'tunable_op_tuning_enable',
  'tunable_op_max_tuning_duration_ms',
  'use_tf32',
  'user_compute_stream',
];

/** Reads a model's parameters; a key that is the user's own is left alone, with a warning. */
export function readParameters({ parameters }: TritonMessage): ReadParameters {
  const result: ReadParameters = { values: {}, problems: [], warnings: [] };
  for (const { key, value } of parameters) readOne(key, value.string_value.trim(), result);
  return result;
}

function readOne(key: string, value: string, { values, problems, warnings }: ReadParameters): void {
  const kind = Object.hasOwn(KINDS, key) ? KINDS[key] : undefined;
  if (kind !== undefined) {
    const read = kind.read(value);
    if (read === undefined)
      problems.push(`parameters ${key}: is "${value}", but must be one of ${kind.allowed}`);
    else Object.assign(values, read);
  } else if (REFUSED.includes(key)) {
    problems.push(`parameters ${key}: is not served: this option of ONNX Runtime can't be set here`);
  } else {
    const meant = nearest(key, Object.keys(KINDS));
    if (meant === undefined) warnings.push(`parameters ${key}: nothing here reads it`);
    else problems.push(`parameters ${key}: is no known key; is ${meant} meant?`);
  }
}
