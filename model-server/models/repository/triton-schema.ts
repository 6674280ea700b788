import { z } from 'zod';
import { enumOf, flag, integer, list, mapOf, message, refused } from './field-kinds.ts';

const DATA_TYPES = {
  TYPE_INVALID: 0,
  TYPE_BOOL: 1,
  TYPE_UINT8: 2,
  TYPE_UINT16: 3,
  TYPE_UINT32: 4,
  TYPE_UINT64: 5,
  TYPE_INT8: 6,
  TYPE_INT16: 7,
  TYPE_INT32: 8,
  TYPE_INT64: 9,
  TYPE_FP16: 10,
  TYPE_FP32: 11,
  TYPE_FP64: 12,
  TYPE_STRING: 13,
  TYPE_BF16: 14,
} as const;

const dataType = enumOf(DATA_TYPES, { TYPE_INVALID: 'a tensor needs a type' });
const dims = list(integer(-1).refine((dim) => dim !== 0, 'a dimension is -1 or positive'));
const TENSORRT_ONLY = 'it is for TensorRT alone';
const reshape = message({ shape: list(integer(-1)) }).optional();

const input = message({
  name: z.string().min(1),
  data_type: dataType,
  dims,
  format: enumOf({ FORMAT_NONE: 0, FORMAT_NHWC: 1, FORMAT_NCHW: 2 }).optional(),
  reshape,
  is_shape_tensor: refused(TENSORRT_ONLY),
  allow_ragged_batch: refused('only tensors of one shape share a batch'),
  optional: refused('ONNX models need all of their inputs'),
  is_non_linear_format_io: refused(TENSORRT_ONLY),
}).refine(({ format, dims }) => format === undefined || format === 'FORMAT_NONE' || dims.length === 3, {
  error: 'with a format, dims must be the three of an image',
  path: ['dims'],
});

const output = message({
  name: z.string().min(1),
  data_type: dataType,
  dims,
  reshape,
  label_filename: z
    .string()
    .regex(/^$|^[^/\\]+$/, 'must be the name of a file in the model folder')
    .optional(),
  is_shape_tensor: refused(TENSORRT_ONLY),
  is_non_linear_format_io: refused(TENSORRT_ONLY),
});

const versionPolicy = message({
  latest: message({ num_versions: integer(0, 100_000).optional() }).optional(),
  all: message({}).optional(),
  specific: message({ versions: list(integer(1)) }).optional(),
}).refine((policy) => Object.values(policy).filter((choice) => choice !== undefined).length <= 1, {
  error: 'must be one of latest, all, specific',
});

const dynamicBatching = message({
  preferred_batch_size: list(integer(1)),
  max_queue_delay_microseconds: integer(0, 60_000_000).optional(),
  preserve_ordering: refused('answers come as they are ready; each belongs to its own call'),
  priority_levels: refused('there is one priority'),
  default_priority_level: refused('there is one priority'),
  default_queue_policy: message({
    timeout_action: enumOf(
      { REJECT: 0, DELAY: 1 },
      { DELAY: 'a delayed request could wait for ever; use REJECT' },
    ).optional(),
    default_timeout_microseconds: integer(0).optional(),
    allow_timeout_override: flag.optional(),
    max_queue_size: integer(0).optional(),
  }).optional(),
  priority_queue_policy: refused('there is one priority'),
});

const instanceGroup = message({
  name: z.string().optional(),
  kind: enumOf(
    { KIND_AUTO: 0, KIND_GPU: 1, KIND_CPU: 2, KIND_MODEL: 3 },
    { KIND_MODEL: 'an ONNX model does not place itself; use KIND_AUTO' },
  ).optional(),
  count: integer(0, 1024).optional(),
  gpus: list(integer(0, 1023)),
  rate_limiter: refused('instances share no resources that could be rationed'),
  secondary_devices: refused(TENSORRT_ONLY),
  profile: refused(TENSORRT_ONLY),
  passive: refused('an instance without work would only take memory'),
  host_policy: refused('instances are not bound to cores'),
}).refine((group) => group.kind !== 'KIND_CPU' || group.gpus.length === 0, {
  error: 'can stand only with KIND_GPU or KIND_AUTO',
  path: ['gpus'],
});

/** A hint for copies that ONNX Runtime makes by itself: either value is as good as honoured. */
const pinned = message({ enable: flag.optional() }).optional();
const optimization = message({
  graph: message({
    level: z.literal([-1, 0, 1], 'must be -1 (basic), 0 (all optimizations) or 1 (extended)').optional(),
  }).optional(),
  priority: refused(TENSORRT_ONLY, 'PRIORITY_DEFAULT'),
  cuda: refused(TENSORRT_ONLY),
  execution_accelerators: refused('the execution provider is chosen by --execution-provider'),
  input_pinned_memory: pinned,
  output_pinned_memory: pinned,
  gather_kernel_buffer_threshold: refused(TENSORRT_ONLY),
  eager_batching: refused(TENSORRT_ONLY),
});

const warmupInput = message({
  data_type: dataType,
  dims: list(integer(1)),
  zero_data: flag.optional(),
  random_data: flag.optional(),
  input_data_file: z
    .string()
    .regex(/^(?!\.\.?$)[^/\\]+$/, 'must be the name of a file in the folder warmup')
    .optional(),
}).refine(
  (given) =>
    [given.zero_data, given.random_data, given.input_data_file].filter((it) => it !== undefined).length === 1,
  { error: 'must have one of zero_data, random_data, input_data_file' },
);

const warmup = message({
  name: z.string(),
  batch_size: integer(1, 100_000),
  inputs: mapOf(warmupInput),
  count: integer(0, 10_000).optional(),
});

const only = (served: string) =>
  z
    .literal(['', served], {
      error: (issue) => `is ${JSON.stringify(issue.input)}; only ${served} is served`,
    })
    .optional();

const fields = {
  name: z.string().optional(),
  platform: only('onnxruntime_onnx'),
  backend: only('onnxruntime'),
  runtime: refused('there is one ONNX Runtime'),
  version_policy: versionPolicy.optional(),
  max_batch_size: integer(0, 1_000_000).optional(),
  input: list(input),
  output: list(output),
  batch_input: refused('the server adds no inputs of its own'),
  batch_output: refused('outputs are split by the batch dimension alone'),
  optimization: optimization.optional(),
  dynamic_batching: dynamicBatching.optional(),
  sequence_batching: refused('requests are independent of each other'),
  ensemble_scheduling: refused('a model is one ONNX file'),
  instance_group: list(instanceGroup),
  default_model_filename: z
    .string()
    .regex(/^$|^(?!\.)[^/\\]+$/, 'must be the name of a file in the version folder')
    .optional(),
  cc_model_filenames: refused('the model file does not depend on the GPU; use default_model_filename'),
  metric_tags: refused('metrics carry model and version only'),
  parameters: mapOf(message({ string_value: z.string() })),
  model_warmup: list(warmup),
  model_operations: refused('libraries are not loaded from the repository'),
  model_transaction_policy: message({ decoupled: refused('each request has one answer') }).optional(),
  model_repository_agents: refused('for checksums put a SHA256SUMS file into the version folder'),
  response_cache: message({ enable: refused('answers are not cached') }).optional(),
  model_metrics: refused('the buckets of the metrics are fixed'),
};

/**
 * Triton's whole ModelConfig message: what is honoured is read, all else is refused by name with the reason. A setting that
 * is silently ignored is worse than an error.
 */
export const tritonSchema = message(fields).superRefine((config, context) => {
  const { max_batch_size: most, dynamic_batching: batching } = config;
  if (!most) return;
  for (const size of batching?.preferred_batch_size ?? []) {
    if (size <= most) continue;
    const path = ['dynamic_batching', 'preferred_batch_size'];
    context.addIssue({ code: 'custom', path, message: `${size} is more than max_batch_size (${most})` });
  }
});

/** A config file as it was read. */
export type TritonMessage = z.infer<typeof tritonSchema>;
