import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type EffectiveConfig, readModelConfig } from '../../model-server/models/repository/model-config.ts';
import { reshapeInputs, reshapeOutputs } from '../../model-server/models/repository/reshape.ts';
import { scanModel } from '../../model-server/models/repository/scan.ts';
import { hasShared, shared } from '../shared.ts';
import { onnxModel, type Port } from './onnx-message.ts';
import { writeTensorModel, writeTextModel } from './onnx-writer.ts';
import { copyShippedModel, shippedRepository, temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(() => {
  for (const undo of cleanUp.splice(0).reverse()) undo();
});

function repository(): string {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  return path;
}

async function read(path: string, name: string, override?: string): Promise<EffectiveConfig> {
  const model = await scanModel(path, name, { override });
  return readModelConfig(model!.versions[0]!, override);
}

const put = (folder: string, name: string, contents: unknown) => {
  mkdirSync(join(folder, name, '..'), { recursive: true });
  writeFileSync(join(folder, name), typeof contents === 'string' ? contents : JSON.stringify(contents));
};

async function textConfig(files: Record<string, unknown>, override?: string): Promise<EffectiveConfig> {
  const path = repository();
  const folder = writeTextModel(path, 'm');
  for (const [name, contents] of Object.entries(files)) put(folder, name, contents);
  return read(path, 'm', override);
}

async function tensorConfig(pbtxt: string, dims: Port['dims'] = ['batch', 4]): Promise<EffectiveConfig> {
  const path = repository();
  put(writeTensorModel(path, 'm', { dims }), 'config.pbtxt', pbtxt);
  return read(path, 'm');
}

const sourceOf = ({ origins }: EffectiveConfig, field: string) =>
  origins.filter((origin) => origin.field === field).map(({ value, source }) => `${value} <- ${source}`);

const invalid = (message: RegExp) =>
  expect.objectContaining({ reason: 'MODEL_CONFIG_INVALID', message: expect.stringMatching(message) });

describe('without any config file', () => {
  it('the shipped model is what it is with its own', async () => {
    const path = repository();
    rmSync(join(copyShippedModel(path), 'config.pbtxt'));
    const derived = await read(path, 'all-minilm-l6-v2');
    const shipped = await read(shippedRepository, 'all-minilm-l6-v2');
    expect(derived.config).toEqual({
      ...shipped.config,
      maxBatchItems: undefined,
      instanceGroups: [{ count: undefined, kind: 'auto', gpus: [] }],
    });
    expect(shipped.config).toMatchObject({
      task: 'embed',
      outputName: 'last_hidden_state',
      maxTokens: 256,
      pooling: 'mean',
      normalize: true,
      maxBatchItems: 32,
      batched: true,
    });
    expect(derived.warnings).toEqual([]);
    expect(sourceOf(derived, 'max_tokens')).toEqual(['256 <- sentence_bert_config.json max_seq_length']);
    expect(sourceOf(derived, 'pooling')).toEqual(['mean <- 1_Pooling/config.json pooling_mode_mean_tokens']);
    expect(sourceOf(derived, 'normalize')).toEqual(['true <- modules.json type']);
    expect(sourceOf(derived, 'max_batch_size')).toEqual(["the server's <- default"]);
    expect(sourceOf(shipped, 'max_batch_size')).toEqual(['32 <- config.pbtxt max_batch_size']);
    expect(sourceOf(shipped, 'output')).toEqual([
      'last_hidden_state FP32 [-1,-1,384] <- config.pbtxt output',
    ]);
  });

  it('a model with a tokenizer alone embeds, and says what it assumed', async () => {
    const effective = await textConfig({});
    expect(effective.config).toMatchObject({
      task: 'embed',
      maxTokens: 128,
      pooling: 'mean',
      normalize: true,
    });
    expect(sourceOf(effective, 'max_tokens')).toEqual(['128 <- tokenizer_config.json model_max_length']);
    expect(sourceOf(effective, 'pooling')).toEqual(['mean <- default']);
    expect(sourceOf(effective, 'task')).toEqual(['embed <- model.onnx']);
  });

  it('a cross-encoder is known by its head', async () => {
    const path = repository();
    const folder = writeTextModel(path, 'm', { labels: 1 });
    expect(sourceOf(await read(path, 'm'), 'task')).toEqual(['rerank <- config.json architectures']);
    rmSync(join(folder, 'config.json'));
    expect(sourceOf(await read(path, 'm'), 'task')).toEqual(['rerank <- model.onnx']);
  });

  it('a classifier of several labels is served for raw tensors, and says why', async () => {
    const path = repository();
    writeTextModel(path, 'm', { labels: 3 });
    const { config, warnings } = await read(path, 'm');
    expect(config).toMatchObject({ task: 'tensors', outputName: undefined });
    expect(warnings).toEqual([expect.stringMatching(/raw tensors only: its output logits is FP32 \[-1,3\]/)]);
  });

  it('a model with other inputs is served for raw tensors, and says why', async () => {
    const path = repository();
    writeTextModel(path, 'm', { inputs: ['ids', 'attention_mask'] });
    const { config, warnings } = await read(path, 'm');
    expect(config.task).toBe('tensors');
    expect(warnings).toEqual([
      expect.stringMatching(/its inputs are ids, attention_mask; a text encoder takes/),
    ]);
  });

  const outputs: [Port, string, RegExp | undefined][] = [
    [{ name: 'last_hidden_state', element: 'FP16', dims: ['batch', 'any', 8] }, 'embed', undefined],
    [{ name: 'sentence_embedding', element: 'FP32', dims: ['batch', 8] }, 'embed', undefined],
    [
      { name: 'last_hidden_state', element: 'INT64', dims: ['batch', 'any', 8] },
      'tensors',
      /only FP32 and FP16/,
    ],
    [
      { name: 'last_hidden_state', element: 'FP32', dims: ['batch', 'any', 'w'] },
      'tensors',
      /last dimension must be/,
    ],
    [{ name: 'logits', element: 'FP32', dims: ['batch', 'any', 99] }, 'tensors', /a cross-encoder's is/],
    [
      { name: 'y', element: 'FP32', dims: ['batch', 8] },
      'tensors',
      /none of its outputs \(y\) is one of last_hidden_state/,
    ],
  ];
  it.each(outputs)('a text model with the output %o is served for: %s', async (output, task, warning) => {
    const path = repository();
    const folder = writeTextModel(path, 'm');
    const ids: Port = { name: 'input_ids', element: 'INT64', dims: ['batch', 'any'] };
    const model = onnxModel({ nodes: [], weights: [], inputs: [ids], outputs: [output] });
    writeFileSync(join(folder, '1', 'model.onnx'), model);
    const { config, warnings } = await read(path, 'm');
    expect(config.task).toBe(task);
    expect(config.outputName).toBe(task === 'tensors' ? undefined : output.name);
    expect(warnings).toEqual(warning === undefined ? [] : [expect.stringMatching(warning)]);
  });

  it('a model without hub files is served for raw tensors', async () => {
    const path = repository();
    writeTensorModel(path, 'm');
    const effective = await read(path, 'm');
    expect(effective.config).toMatchObject({
      task: 'tensors',
      batched: true,
      maxBatchItems: undefined,
      inputs: [
        { name: 'x', dataType: 'FP32', shape: [-1, 4] },
        { name: 'n', dataType: 'INT64', shape: [-1, 4] },
        { name: 's', dataType: 'BYTES', shape: [-1, 4] },
      ],
    });
    expect(effective.warnings).toEqual([]);
  });

  it('a model with fixed dimensions is not batched', async () => {
    const { config } = await tensorConfig('', [2, 4]);
    expect(config).toMatchObject({ batched: false, maxBatchItems: 1 });
  });

  it('a text model that lost its tokenizer stays one, so that loading it names the file', async () => {
    const path = repository();
    rmSync(join(copyShippedModel(path, 'm'), 'tokenizer.json'));
    put(join(path, 'm'), 'config.pbtxt', '');
    expect((await read(path, 'm')).config.task).toBe('embed');
  });

  it.runIf(hasShared)('the reference models are what they are', async () => {
    const path = repository();
    for (const [name, file] of [
      ['tiny-cross-encoder', 'model.onnx'],
      ['tiny-clip', 'vision_model.onnx'],
    ] as const) {
      const folder = join(path, name);
      mkdirSync(join(folder, '1'), { recursive: true });
      cpSync(shared('models', name), folder, { recursive: true });
      cpSync(shared('models', name, file), join(folder, '1', 'model.onnx'));
    }
    expect((await read(path, 'tiny-cross-encoder')).config).toMatchObject({ task: 'rerank', maxTokens: 512 });
    const clip = await read(path, 'tiny-clip');
    expect(clip.config).toMatchObject({
      task: 'tensors',
      image: { height: 224, width: 224, mean: [0.48145466, 0.4578275, 0.40821073] },
    });
    expect(clip.origins).toContainEqual(
      expect.objectContaining({ field: 'image', source: 'preprocessor_config.json crop_size' }),
    );
  });
});

describe('the hub files', () => {
  it('of a version come before those of the model', async () => {
    const effective = await textConfig({
      '1_Pooling/config.json': { pooling_mode_mean_tokens: true },
      '1/1_Pooling/config.json': { pooling_mode_cls_token: true },
      '1/sentence_bert_config.json': { max_seq_length: 64 },
    });
    expect(sourceOf(effective, 'pooling')).toEqual(['cls <- 1/1_Pooling/config.json pooling_mode_cls_token']);
    expect(sourceOf(effective, 'max_tokens')).toEqual(['64 <- 1/sentence_bert_config.json max_seq_length']);
  });

  it('give the least of all lengths, and 8192 when none is given', async () => {
    const long = { model_max_length: 1e30 };
    const limited = await textConfig({
      'tokenizer_config.json': long,
      'config.json': { model_type: 'bert', max_position_embeddings: 512 },
    });
    expect(sourceOf(limited, 'max_tokens')).toEqual(['512 <- config.json max_position_embeddings']);
    expect(sourceOf(await textConfig({ 'tokenizer_config.json': long }), 'max_tokens')).toEqual([
      '8192 <- default',
    ]);
  });

  it('name the pooling folder, prompts and the lack of normalisation', async () => {
    const effective = await textConfig({
      'modules.json': [
        { type: 'sentence_transformers.models.Transformer', path: '' },
        { type: 'sentence_transformers.models.Pooling', path: '1_Max' },
      ],
      '1_Max/config.json': { pooling_mode_max_tokens: true },
      'config_sentence_transformers.json': { prompts: { query: 'query: ' }, default_prompt_name: 'query' },
    });
    expect(effective.config).toMatchObject({
      pooling: 'max',
      normalize: false,
      prompts: { byName: { query: 'query: ' }, defaultName: 'query' },
    });
    expect(sourceOf(effective, 'pooling')).toEqual(['max <- 1_Max/config.json pooling_mode_max_tokens']);
    expect(effective.warnings).toEqual([
      expect.stringMatching(/the default prompt "query" is not put before texts/),
    ]);
  });

  const broken: [string, Record<string, unknown>, RegExp][] = [
    [
      'another pooling',
      { '1_Pooling/config.json': { pooling_mode_lasttoken: true } },
      /1_Pooling.config\.json: .*pooling_mode_lasttoken/s,
    ],
    [
      'two poolings',
      { '1_Pooling/config.json': { pooling_mode_cls_token: true, pooling_mode_mean_tokens: true } },
      /several poolings/,
    ],
    [
      'a module that is not served',
      { 'modules.json': [{ type: 'a.Dense', path: '2' }] },
      /modules\.json.*only Transformer/s,
    ],
    [
      'a module elsewhere',
      { 'modules.json': [{ type: 'a.Pooling', path: '../../etc' }] },
      /modules\.json.*must lie in the model folder/s,
    ],
    [
      'a default prompt that is none',
      { 'config_sentence_transformers.json': { prompts: { a: '' }, default_prompt_name: 'b' } },
      /default_prompt_name is "b"/,
    ],
    ['a file that is no JSON', { 'sentence_bert_config.json': '{' }, /sentence_bert_config\.json: /],
    [
      'a length that is none',
      { 'sentence_bert_config.json': { max_seq_length: -1 } },
      /sentence_bert_config\.json: .*max_seq_length/s,
    ],
  ];
  it.each(broken)('with %s are refused', async (_, files, message) => {
    await expect(textConfig(files)).rejects.toEqual(invalid(message));
  });
});

describe('config.pbtxt', () => {
  it('is honoured field by field', async () => {
    const effective = await textConfig({
      'config.pbtxt': `
        name: "m" platform: "onnxruntime_onnx" max_batch_size: 16
        version_policy { latest { num_versions: 2 } }
        dynamic_batching {
          preferred_batch_size: [ 8, 4 ] max_queue_delay_microseconds: 250
          default_queue_policy { max_queue_size: 9 default_timeout_microseconds: 1500 allow_timeout_override: true }
        }
        instance_group [ { name: "g" count: 3 kind: KIND_CPU }, { kind: KIND_GPU gpus: [ 0, 1 ] } ]
        optimization { graph { level: 1 } }
        parameters { key: "intra_op_thread_count" value { string_value: "2" } }
        parameters { key: "inter_op_thread_count" value { string_value: "0" } }
        parameters { key: "packing" value { string_value: "off" } }
        parameters { key: "execution_mode" value { string_value: "1" } }
        parameters { key: "enable_mem_arena" value { string_value: "0" } }
        parameters { key: "isolation" value { string_value: "process" } }
        parameters { key: "keep_alive_secs" value { string_value: "1.5" } }
        parameters { key: "preload" value { string_value: "true" } }
        parameters { key: "max_tokens" value { string_value: "32" } }
        parameters { key: "pooling" value { string_value: "cls" } }
        parameters { key: "normalize" value { string_value: "false" } }
        parameters { key: "owner" value { string_value: "search team" } }`,
    });
    expect(effective.config).toMatchObject({
      maxBatchItems: 16,
      versionPolicy: { kind: 'latest', count: 2 },
      preferredBatchSizes: [4, 8],
      queueDelayUs: 250,
      maxQueueItems: 9,
      queueTimeoutMs: 1.5,
      allowTimeoutOverride: true,
      instanceGroups: [
        { count: 3, kind: 'cpu', gpus: [] },
        { count: undefined, kind: 'gpu', gpus: [0, 1] },
      ],
      graphLevel: 'extended',
      intraOpThreads: 2,
      packing: 'off',
      interOpThreads: undefined,
      executionMode: 'parallel',
      memArena: false,
      isolation: 'process',
      keepAliveMs: 1500,
      preload: true,
      maxTokens: 32,
      pooling: 'cls',
      normalize: false,
    });
    expect(effective.warnings).toEqual(['parameters owner: nothing here reads it']);
    expect(sourceOf(effective, 'pooling')).toEqual(['cls <- config.pbtxt parameters pooling']);
    expect(sourceOf(effective, 'instance_group')).toEqual([
      '3 x cpu, gpu 0+1 <- config.pbtxt instance_group',
    ]);
    expect(sourceOf(effective, 'keep_alive_secs')).toEqual([
      '1.5 <- config.pbtxt parameters keep_alive_secs',
    ]);
    expect(sourceOf(effective, 'version_policy')).toEqual(['latest 2 <- config.pbtxt version_policy']);
    expect(sourceOf(effective, 'optimization.graph.level')).toEqual([
      'extended <- config.pbtxt optimization.graph.level',
    ]);
  });

  it('of a load request says so', async () => {
    const override = '{"maxBatchSize": 5, "parameters": {"max_tokens": {"stringValue": "9"}}}';
    const effective = await textConfig({ 'config.pbtxt': 'max_batch_size: 16' }, override);
    expect(effective.config).toMatchObject({ maxBatchItems: 5, maxTokens: 9 });
    expect(sourceOf(effective, 'max_batch_size')).toEqual(['5 <- load request max_batch_size']);
  });

  const parameters: [string, string, RegExp][] = [
    ['intra_op_thread_count', 'many', /must be one of a whole number from 0 to 1024/],
    ['isolation', 'container', /isolation: is "container", but must be one of thread, process/],
    ['keep_alive_secs', '-2', /seconds from 0 to 31536000, or -1/],
    ['preload', 'yes', /must be one of true, false/],
    ['pooling', 'lasttoken', /must be one of mean, cls, max/],
    ['keep_alive_sec', '1', /keep_alive_sec: is no known key; is keep_alive_secs meant/],
    ['gpu_mem_limit', '1', /gpu_mem_limit: is not served/],
  ];
  it.each(parameters)('with the parameter %s = %s is refused', async (key, value, message) => {
    const text = `parameters { key: "${key}" value { string_value: "${value}" } }`;
    await expect(textConfig({ 'config.pbtxt': text })).rejects.toEqual(invalid(message));
  });
});

describe('a reshaped tensor', () => {
  const tensor = (shape: number[], name = 'a') => ({
    name,
    dataType: 'FP32' as const,
    shape,
    data: new Uint8Array(48),
  });
  const table: [outside: number[], inside: number[], sent: number[], taken: number[]][] = [
    [
      [3, 4],
      [1, 3, 4],
      [3, 4],
      [1, 3, 4],
    ],
    [
      [-1, 12],
      [-1, 3, 4, 1],
      [7, 12],
      [7, 3, 4, 1],
    ],
    [[-1, 1], [-1], [5, 1], [5]],
    [
      [-1, 2, -1],
      [-1, -1, 2],
      [5, 2, 6],
      [5, 6, 2],
    ],
  ];
  it.each(table)('of %j outside and %j inside is taken to and fro', (outside, inside, sent, taken) => {
    const reshapes = new Map([['a', { outside, inside }]]);
    const [input, other] = reshapeInputs([tensor(sent), tensor([9], 'b')], reshapes);
    expect(input!.shape).toEqual(taken);
    expect(other!.shape).toEqual([9]);
    expect(reshapeOutputs([tensor(taken)], reshapes)[0]!.shape).toEqual(sent);
  });

  it('must have the shape that callers are told', () => {
    const reshapes = new Map([['a', { outside: [-1, 12], inside: [-1, 3, 4] }]]);
    for (const shape of [[12], [1, 11], [1, 3, 4]]) {
      expect(() => reshapeInputs([tensor(shape)], reshapes)).toThrow(
        /input "a" is \[.*\], but must be \[-1, 12\]/,
      );
    }
  });
});

describe('inputs and outputs of config.pbtxt', () => {
  const input = (fields: string) =>
    `input { ${fields} } input { name: "n" data_type: TYPE_INT64 dims: 4 } input { name: "s" data_type: TYPE_STRING dims: 4 }`;
  const batched = (fields: string) => `max_batch_size: 8 ${input(fields)}`;

  it('leave out the batch dimension when there is a max_batch_size', async () => {
    const { config } = await tensorConfig(
      `${batched('name: "x" data_type: TYPE_FP32 dims: 4')} output { name: "y" data_type: TYPE_FP32 dims: 4 }`,
    );
    expect(config).toMatchObject({
      batched: true,
      maxBatchItems: 8,
      inputs: [{ name: 'x', shape: [-1, 4] }, { name: 'n' }, { name: 's', dataType: 'BYTES' }],
      outputs: [{ name: 'y', dataType: 'FP32', shape: [-1, 4] }],
    });
  });

  it('hold all dimensions when it is 0, and no requests are joined', async () => {
    const dims = (name: string, type: string) =>
      `input { name: "${name}" data_type: ${type} dims: [ 3, 4 ] }`;
    const all = `${dims('x', 'TYPE_FP32')} ${dims('n', 'TYPE_INT64')} ${dims('s', 'TYPE_STRING')}`;
    const { config } = await tensorConfig(`max_batch_size: 0 ${all}`);
    expect(config).toMatchObject({ batched: false, maxBatchItems: 1, inputs: [{ shape: [3, 4] }, {}, {}] });
  });

  it('may do either when there is none', async () => {
    const dims = (list: string) =>
      ['x TYPE_FP32', 'n TYPE_INT64', 's TYPE_STRING']
        .map((it) => it.split(' '))
        .map(([name, type]) => `input { name: "${name}" data_type: ${type} dims: [ ${list} ] }`)
        .join('\n');
    for (const list of ['4', '-1, 4']) {
      const { config } = await tensorConfig(dims(list));
      expect(config).toMatchObject({ batched: true, inputs: [{ shape: [-1, 4] }, {}, {}] });
    }
  });

  it('may be reshaped, as the models of Triton’s first example are', async () => {
    const path = repository();
    const folder = join(path, 'densenet_onnx');
    mkdirSync(join(folder, '1'), { recursive: true });
    writeFileSync(
      join(folder, '1', 'model.onnx'),
      onnxModel({
        nodes: [],
        weights: [],
        inputs: [{ name: 'data_0', element: 'FP32', dims: [1, 3, 224, 224] }],
        outputs: [{ name: 'fc6_1', element: 'FP32', dims: [1, 1000, 1, 1] }],
      }),
    );
    put(
      folder,
      'config.pbtxt',
      `name: "densenet_onnx" platform: "onnxruntime_onnx" max_batch_size : 0
       input [ { name: "data_0" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 224, 224 ] reshape { shape: [ 1, 3, 224, 224 ] } } ]
       output [ { name: "fc6_1" data_type: TYPE_FP32 dims: [ 1000 ] reshape { shape: [ 1, 1000, 1, 1 ] } label_filename: "densenet_labels.txt" } ]`,
    );
    const { config, warnings } = await read(path, 'densenet_onnx');
    expect(config).toMatchObject({
      task: 'tensors',
      inputs: [{ name: 'data_0', shape: [3, 224, 224] }],
      outputs: [{ name: 'fc6_1', shape: [1000] }],
    });
    expect([...config.reshapes]).toEqual([
      ['data_0', { outside: [3, 224, 224], inside: [1, 3, 224, 224] }],
      ['fc6_1', { outside: [1000], inside: [1, 1000, 1, 1] }],
    ]);
    expect(warnings).toEqual([expect.stringMatching(/fc6_1: its label_filename is not used/)]);
  });

  it('may be reshaped behind the batch dimension', async () => {
    const { config } = await tensorConfig(
      batched('name: "x" data_type: TYPE_FP32 dims: [ 2, 2 ] reshape { shape: 4 }'),
    );
    expect(config.inputs[0]).toEqual({ name: 'x', dataType: 'FP32', shape: [-1, 2, 2] });
    expect(config.reshapes.get('x')).toEqual({ outside: [-1, 2, 2], inside: [-1, 4] });
  });

  const wrong: [string, string, RegExp][] = [
    [
      'another type',
      batched('name: "x" data_type: TYPE_FP16 dims: 4'),
      /input "x" is TYPE_FP16 in config\.pbtxt, but FP32 in the model file/,
    ],
    [
      'another length',
      batched('name: "x" data_type: TYPE_FP32 dims: 5'),
      /input "x" is \[-1,5\] \(with the batch dimension\) in config\.pbtxt, but \[-1,4\]/,
    ],
    ['more dimensions', batched('name: "x" data_type: TYPE_FP32 dims: [ 1, 4 ]'), /input "x" is \[-1,1,4\]/],
    [
      'a free length that is fixed',
      batched('name: "x" data_type: TYPE_FP32 dims: -1'),
      /input "x" is \[-1,-1\]/,
    ],
    [
      'another name',
      batched('name: "z" data_type: TYPE_FP32 dims: 4'),
      /input "x" \(FP32 \[-1,4\]\) of the model file is not in config\.pbtxt; input "z" is in config\.pbtxt, but the inputs of the model file are x, n, s/,
    ],
    [
      'a name twice',
      `max_batch_size: 8 ${'input { name: "x" data_type: TYPE_FP32 dims: 4 }'.repeat(2)}`,
      /input "x" stands twice/,
    ],
    [
      'a reshape to other elements',
      batched('name: "x" data_type: TYPE_FP32 dims: 3 reshape { shape: 4 }'),
      /reshape \[4\] has other elements than dims \[3\]/,
    ],
    [
      'an unknown output',
      'output { name: "z" data_type: TYPE_FP32 dims: 4 }',
      /output "z" is in config\.pbtxt, but the outputs of the model file are y, n_same, s_same/,
    ],
    [
      'a warm-up of another type',
      'model_warmup { name: "w" batch_size: 1 inputs { key: "x" value { data_type: TYPE_INT8 dims: 4 zero_data: true } } }',
      /model_warmup "w": has no input n, s; model_warmup "w": input "x" is INT8, but the model takes FP32/,
    ],
    [
      'a warm-up above the batch',
      'max_batch_size: 2 model_warmup { name: "w" batch_size: 3 inputs { key: "x" value { data_type: TYPE_FP32 dims: 4 zero_data: true } } }',
      /batch_size is 3, but max_batch_size 2/,
    ],
  ];
  it.each(wrong)('with %s contradict the model file', async (_, text, message) => {
    await expect(tensorConfig(text)).rejects.toEqual(invalid(message));
  });

  it('can’t be batched when the model’s first dimension is fixed', async () => {
    await expect(tensorConfig('max_batch_size: 8', [1, 4])).rejects.toEqual(
      invalid(/input "x" is \[1,4\] in the model file, so it can't be batched; set max_batch_size to 0/),
    );
  });

  it('can be warmed up', async () => {
    const { config } = await tensorConfig(
      `model_warmup { name: "w" batch_size: 2 count: 3
         inputs { key: "x" value { data_type: TYPE_FP32 dims: 4 random_data: true } }
         inputs { key: "n" value { data_type: TYPE_INT64 dims: 4 input_data_file: "n.bin" } }
         inputs { key: "s" value { data_type: TYPE_STRING dims: 4 random_data: true } } }`,
    );
    const dims = [4];
    expect(config.warmup).toEqual([
      {
        name: 'w',
        batchSize: 2,
        count: 3,
        inputs: [
          { name: 'x', dataType: 'FP32', dims, source: 'random' },
          { name: 'n', dataType: 'INT64', dims, source: 'n.bin' },
          { name: 's', dataType: 'BYTES', dims, source: 'zero' },
        ],
      },
    ]);
  });
});
