import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import { policyOf, readTritonConfig } from '../../model-server/models/repository/triton-config.ts';
import { temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(() => {
  for (const undo of cleanUp.splice(0).reverse()) undo();
});

function folderWith(files: Record<string, string>): { name: string; folder: string } {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  const folder = join(path, 'm');
  mkdirSync(folder);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return { name: 'm', folder };
}

const readText = async (text: string) =>
  (await readTritonConfig(folderWith({ 'config.pbtxt': text }))).message;
const invalid = (message: RegExp) =>
  expect.objectContaining({ reason: 'MODEL_CONFIG_INVALID', message: expect.stringMatching(message) });

describe('fields that are not honoured', () => {
  const input = (field: string) => `input { name: "a" data_type: TYPE_FP32 dims: 1 ${field} }`;
  const output = (field: string) => `output { name: "a" data_type: TYPE_FP32 dims: 1 ${field} }`;
  const group = (field: string) => `instance_group { ${field} }`;
  const batching = (field: string) => `dynamic_batching { ${field} }`;
  const optimization = (field: string) => `optimization { ${field} }`;
  const refusals: [field: string, text: string][] = [
    ['runtime', 'runtime: "libtriton_onnxruntime.so"'],
    ['batch_input', 'batch_input { kind: BATCH_ELEMENT_COUNT }'],
    ['batch_output', 'batch_output { target_name: "a" }'],
    ['sequence_batching', 'sequence_batching { }'],
    ['ensemble_scheduling', 'ensemble_scheduling { step { model_name: "a" } }'],
    ['cc_model_filenames', 'cc_model_filenames { key: "7.5" value: "model_75.onnx" }'],
    ['metric_tags', 'metric_tags { key: "a" value: "b" }'],
    ['model_operations', 'model_operations { op_library_filename: "libcustom.so" }'],
    ['model_transaction_policy.decoupled', 'model_transaction_policy { decoupled: true }'],
    ['model_repository_agents', 'model_repository_agents { agents { name: "checksum" } }'],
    ['response_cache.enable', 'response_cache { enable: true }'],
    ['model_metrics', 'model_metrics { metric_control { } }'],
    ['input.0.is_shape_tensor', input('is_shape_tensor: true')],
    ['input.0.allow_ragged_batch', input('allow_ragged_batch: true')],
    ['input.0.optional', input('optional: true')],
    ['input.0.is_non_linear_format_io', input('is_non_linear_format_io: true')],
    ['output.0.is_shape_tensor', output('is_shape_tensor: true')],
    ['output.0.is_non_linear_format_io', output('is_non_linear_format_io: true')],
    ['dynamic_batching.preserve_ordering', batching('preserve_ordering: true')],
    ['dynamic_batching.priority_levels', batching('priority_levels: 2')],
    ['dynamic_batching.default_priority_level', batching('default_priority_level: 1')],
    ['dynamic_batching.priority_queue_policy', batching('priority_queue_policy { key: 1 value { } }')],
    [
      'dynamic_batching.default_queue_policy.timeout_action',
      batching('default_queue_policy { timeout_action: DELAY }'),
    ],
    ['instance_group.0.kind', group('kind: KIND_MODEL')],
    ['instance_group.0.rate_limiter', group('rate_limiter { priority: 2 }')],
    ['instance_group.0.secondary_devices', group('secondary_devices { device_id: 0 }')],
    ['instance_group.0.profile', group('profile: "0"')],
    ['instance_group.0.passive', group('passive: true')],
    ['instance_group.0.host_policy', group('host_policy: "numa_0"')],
    ['optimization.priority', optimization('priority: PRIORITY_MAX')],
    ['optimization.cuda', optimization('cuda { graphs: true }')],
    [
      'optimization.execution_accelerators',
      optimization('execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } }'),
    ],
    ['optimization.gather_kernel_buffer_threshold', optimization('gather_kernel_buffer_threshold: 1')],
    ['optimization.eager_batching', optimization('eager_batching: true')],
  ];
  it.each(refusals)('%s is refused by name, with a reason', async (field, text) => {
    const escaped = field.replaceAll('.', '\\.');
    await expect(readText(text)).rejects.toEqual(
      invalid(new RegExp(`config\\.pbtxt: ${escaped}: .*is not served: .{10,}`)),
    );
  });

  it('may stand there with the defaults that tools write out', async () => {
    const dump = {
      name: 'm',
      platform: 'onnxruntime_onnx',
      backend: 'onnxruntime',
      runtime: '',
      versionPolicy: { latest: { numVersions: 1 } },
      maxBatchSize: 8,
      input: [
        {
          name: 'a',
          dataType: 'TYPE_FP32',
          format: 'FORMAT_NONE',
          dims: ['-1', 4],
          isShapeTensor: false,
          allowRaggedBatch: false,
          optional: false,
          isNonLinearFormatIo: false,
        },
      ],
      output: [{ name: 'b', dataType: 'TYPE_FP32', dims: ['4'], labelFilename: '', isShapeTensor: false }],
      batchInput: [],
      batchOutput: [],
      optimization: {
        priority: 'PRIORITY_DEFAULT',
        inputPinnedMemory: { enable: true },
        outputPinnedMemory: { enable: true },
        gatherKernelBufferThreshold: 0,
        eagerBatching: false,
      },
      dynamicBatching: {
        preferredBatchSize: [8],
        maxQueueDelayMicroseconds: '100',
        preserveOrdering: false,
        priorityLevels: '0',
        defaultPriorityLevel: '0',
        priorityQueuePolicy: {},
      },
      instanceGroup: [
        {
          name: 'm',
          kind: 'KIND_CPU',
          count: 1,
          gpus: [],
          secondaryDevices: [],
          profile: [],
          passive: false,
          hostPolicy: '',
        },
      ],
      defaultModelFilename: 'model.onnx',
      ccModelFilenames: {},
      metricTags: {},
      parameters: {},
      modelWarmup: [],
      modelTransactionPolicy: { decoupled: false },
      responseCache: { enable: false },
      sequenceBatching: null,
    };
    const { message } = await readTritonConfig(folderWith({ 'config.json': JSON.stringify(dump) }));
    expect(message).toMatchObject({
      max_batch_size: 8,
      input: [{ dims: [-1, 4] }],
      dynamic_batching: { max_queue_delay_microseconds: 100 },
    });
  });
});

describe('what is wrong in a config file', () => {
  it('is told all at once', async () => {
    const text = `max_bach_size: 3 foo: 1 platform: "tensorrt_plan"
      input { name: "a" data_type: TYPE_FP33 dims: [ 0 ] optinal: true }
      optimization { graph { level: 3 } }
      dynamic_batching { preferred_batch_size: 0 }`;
    const error = (await readText(text).catch((thrown: unknown) => thrown)) as ServingError;
    for (const problem of [
      'platform: is "tensorrt_plan"; only onnxruntime_onnx is served',
      'input.0.data_type: is "TYPE_FP33", but must be one of TYPE_BOOL, ',
      'input.0.dims.0: a dimension is -1 or positive',
      'input.0: optinal is no known field; is optional meant?',
      'optimization.graph.level: must be -1 (basic), 0 (all optimizations) or 1 (extended)',
      'dynamic_batching.preferred_batch_size.0: ',
      'max_bach_size is no known field; is max_batch_size meant?',
      'foo is no known field',
    ]) {
      expect(error.message).toContain(problem);
    }
  });

  const wrong: [string, string, RegExp][] = [
    ['another name', 'name: "other"', /name is "other", but the folder is called "m"/],
    ['a broken text', 'a {\n', /config\.pbtxt: line 2: a message is not closed/],
    ['another backend', 'backend: "python"', /backend: is "python"; only onnxruntime is served/],
    ['a field twice', 'max_batch_size: 1 max_batch_size: 2', /max_batch_size: stands there more than once/],
    ['a negative batch', 'max_batch_size: -1', /max_batch_size: /],
    ['a fraction of a batch', 'max_batch_size: 1.5', /max_batch_size: /],
    ['a number above 2^53', 'version_policy { specific { versions: 99999999999999999 } }', /versions\.0/],
    [
      'two version policies',
      'version_policy { all { } latest { } }',
      /version_policy: must be one of latest, all, specific/,
    ],
    [
      'a preferred size above the largest',
      'max_batch_size: 4 dynamic_batching { preferred_batch_size: [ 4, 9 ] }',
      /9 is more than max_batch_size \(4\)/,
    ],
    [
      'GPUs of a CPU group',
      'instance_group { kind: KIND_CPU gpus: 0 }',
      /gpus: can stand only with KIND_GPU/,
    ],
    [
      'a parameter twice',
      'parameters { key: "a" value { string_value: "1" } } parameters { key: "a" value { string_value: "2" } }',
      /the key a stands there twice/,
    ],
    [
      'a model file elsewhere',
      'default_model_filename: "../../secret.onnx"',
      /default_model_filename: must be the name of a file/,
    ],
    ['a hidden model file', 'default_model_filename: "..onnx"', /default_model_filename/],
    [
      'a label file elsewhere',
      'output { name: "a" data_type: TYPE_FP32 dims: 1 label_filename: "../a" }',
      /label_filename: must be the name/,
    ],
    [
      'a warm-up file elsewhere',
      'model_warmup { name: "a" batch_size: 1 inputs { key: "a" value { data_type: TYPE_FP32 dims: 1 input_data_file: ".." } } }',
      /input_data_file: must be the name/,
    ],
    [
      'a warm-up without data',
      'model_warmup { name: "a" batch_size: 1 inputs { key: "a" value { data_type: TYPE_FP32 dims: 1 } } }',
      /must have one of zero_data/,
    ],
    [
      'an image that is none',
      'input { name: "a" data_type: TYPE_FP32 dims: 1 format: FORMAT_NCHW }',
      /dims must be the three of an image/,
    ],
    [
      'a type that is none',
      'input { name: "a" data_type: TYPE_INVALID dims: 1 }',
      /TYPE_INVALID is not served: a tensor needs a type/,
    ],
  ];
  it.each(wrong)('%s is named', async (_, text, message) => {
    await expect(readText(text)).rejects.toEqual(invalid(message));
  });

  it('is told of a folder in its place', async () => {
    const place = folderWith({});
    mkdirSync(join(place.folder, 'config.pbtxt'));
    await expect(readTritonConfig(place)).rejects.toEqual(invalid(/config\.pbtxt: is no file/));
  });

  it('never is a file of any size', async () => {
    await expect(readText(`# ${'x'.repeat(1_100_000)}`)).rejects.toEqual(invalid(/1048576 at most/));
  });

  it('is told in a few words, however much is wrong', async () => {
    const unknown = Array.from({ length: 20_000 }, (_, index) => `field_${index}: 1`);
    const bad = `input { name: "a" data_type: TYPE_FP32 dims: [ ${Array(5000).fill('0').join(', ')} ] }`;
    for (const text of [unknown.join('\n'), bad, `name: "${'x'.repeat(500_000)}"`]) {
      const error = await readText(text).catch((thrown: unknown) => thrown);
      expect(error).toEqual(invalid(/config\.pbtxt: /));
      expect((error as Error).message.length).toBeLessThan(12_000);
    }
    await expect(readText(unknown.join('\n'))).rejects.toEqual(
      invalid(/field_9 is no known field; 19990 more fields are not known$/),
    );
  });

  it('throws nothing but a typed error, whatever JSON it is given', async () => {
    const place = folderWith({});
    await fc.assert(
      fc.asyncProperty(fc.json({ maxDepth: 6 }), async (json) => {
        const error: unknown = await readTritonConfig(place, json).catch((thrown: unknown) => thrown);
        if (error instanceof Error) expect(error).toBeInstanceOf(ServingError);
      }),
      { numRuns: 500 },
    );
  });
});

describe('config.json', () => {
  const message = {
    maxBatchSize: 4,
    version_policy: { specific: { versions: ['2', 7] } },
    instanceGroup: [{ kind: 2, count: 3 }],
    parameters: { keep_alive_secs: { string_value: '5' }, preload: { stringValue: 'true' } },
    modelWarmup: [
      {
        name: 'w',
        batchSize: 1,
        inputs: { someInput: { dataType: 'TYPE_INT64', dims: ['3'], zeroData: true } },
      },
    ],
  };

  it('is read as the same message, in both spellings', async () => {
    const place = folderWith({ 'config.json': JSON.stringify(message) });
    const read = await readTritonConfig(place);
    expect(read.source).toBe('config.json');
    expect(policyOf(read.message)).toEqual({ kind: 'specific', versions: [2, 7] });
    expect(read.message).toMatchObject({
      max_batch_size: 4,
      instance_group: [{ kind: 'KIND_CPU', count: 3 }],
      parameters: [
        { key: 'keep_alive_secs', value: { string_value: '5' } },
        { key: 'preload', value: { string_value: 'true' } },
      ],
      model_warmup: [{ inputs: [{ key: 'someInput', value: { dims: [3] } }] }],
    });
  });

  it.each([
    'model_type',
    'architectures',
    '_name_or_path',
    'transformers_version',
    'vocab_size',
    'hidden_size',
  ])('with %s is the hub’s and no Triton configuration', async (field) => {
    const hub = JSON.stringify({ [field]: 'x', whatever: 1 });
    expect((await readTritonConfig(folderWith({ 'config.json': hub }))).source).toBe('');
    const both = folderWith({ 'config.json': hub, 'config.pbtxt': 'max_batch_size: 2' });
    expect(await readTritonConfig(both)).toMatchObject({
      source: 'config.pbtxt',
      message: { max_batch_size: 2 },
    });
  });

  it('of Triton beside a config.pbtxt is refused, naming both', async () => {
    const place = folderWith({ 'config.json': '{"maxBatchSize": 4}', 'config.pbtxt': '' });
    await expect(readTritonConfig(place)).rejects.toEqual(invalid(/config\.pbtxt and config\.json are both/));
  });

  it('that is neither tells how it was read', async () => {
    const place = folderWith({ 'config.json': '{"max_position_embeddings": 512}' });
    await expect(readTritonConfig(place)).rejects.toEqual(
      invalid(/max_position_embeddings is no known field.*none of model_type.*read as Triton's/),
    );
  });

  it('may begin with a byte order mark', async () => {
    const { message } = await readTritonConfig(folderWith({ 'config.json': '\ufeff{"max_batch_size": 3}' }));
    expect(message.max_batch_size).toBe(3);
  });

  it('that is no JSON is named', async () => {
    await expect(readTritonConfig(folderWith({ 'config.json': '{' }))).rejects.toEqual(
      invalid(/config\.json: is not valid JSON/),
    );
  });
});

describe('the configuration of a load request', () => {
  it('stands in for the file', async () => {
    const place = folderWith({ 'config.pbtxt': 'max_batch_size: 2 dynamic_batching { }' });
    const read = await readTritonConfig(place, '{"maxBatchSize": 9}');
    expect(read.source).toBe('load request');
    expect(read.message).toMatchObject({ max_batch_size: 9 });
    expect(read.message.dynamic_batching).toBeUndefined();
  });

  it('is no longer than a file may be', async () => {
    const json = JSON.stringify({ name: 'x'.repeat(1_100_000) });
    await expect(readTritonConfig(folderWith({}), json)).rejects.toEqual(
      invalid(/^load request: has \d+ bytes; .* 1048576 at most/),
    );
  });

  it('is held against the same rules', async () => {
    await expect(readTritonConfig(folderWith({}), '{"sequence_batching": {}}')).rejects.toEqual(
      invalid(/^load request: sequence_batching: is not served/),
    );
    await expect(readTritonConfig(folderWith({}), 'max_batch_size: 1')).rejects.toEqual(
      invalid(/^load request: is not valid JSON/),
    );
    await expect(readTritonConfig(folderWith({}), `${'['.repeat(2000)}${']'.repeat(2000)}`)).rejects.toEqual(
      invalid(/deeper than 64 levels/),
    );
  });
});
