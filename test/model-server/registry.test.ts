import { appendFileSync, mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { readModelConfig } from '../../model-server/models/model-config.ts';
import { Registry } from '../../model-server/models/registry.ts';
import { copyShippedModel, defaults, temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

function repository() {
  const folder = temporaryFolder();
  cleanUp.push(folder.remove);
  return folder.path;
}

async function load(path: string) {
  const registry = new Registry({ repository: path, defaults: { ...defaults, instances: 1 } });
  cleanUp.push(() => registry.destroy());
  return { registry, failures: await registry.load() };
}

describe('a damaged model', () => {
  const damages: [string, (folder: string) => void, string, RegExp][] = [
    [
      'a missing tokenizer',
      (folder) => rmSync(join(folder, 'tokenizer.json')),
      'MODEL_LOAD_FAILED',
      /tokenizer\.json is missing: expected in .*all-minilm/,
    ],
    [
      'a torn tokenizer',
      (folder) => truncateSync(join(folder, 'tokenizer.json'), 1000),
      'MODEL_LOAD_FAILED',
      /tokenizer\.json is not valid JSON/,
    ],
    [
      'a torn model file',
      (folder) => truncateSync(join(folder, '1', 'model.onnx'), 1_000_000),
      'MODEL_LOAD_FAILED',
      /model\.onnx can't be opened/,
    ],
    [
      'an unknown config field',
      (folder) => appendFileSync(join(folder, 'config.pbtxt'), 'sequence_batching { }'),
      'MODEL_CONFIG_INVALID',
      /config\.pbtxt: .*sequence_batching/,
    ],
    [
      'a broken config',
      (folder) => appendFileSync(join(folder, 'config.pbtxt'), 'x {'),
      'MODEL_CONFIG_INVALID',
      /config\.pbtxt: line \d+/,
    ],
    [
      'an unsupported pooling',
      (folder) => writeFileSync(join(folder, '1_Pooling', 'config.json'), '{"pooling_mode_lasttoken": true}'),
      'MODEL_CONFIG_INVALID',
      /pooling_mode_lasttoken/,
    ],
    [
      'two poolings at once',
      (folder) =>
        writeFileSync(
          join(folder, '1_Pooling', 'config.json'),
          '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}',
        ),
      'MODEL_CONFIG_INVALID',
      /several poolings/,
    ],
    [
      'a module that is not supported',
      (folder) =>
        writeFileSync(
          join(folder, 'modules.json'),
          '[{"type": "sentence_transformers.models.Dense", "path": "2"}]',
        ),
      'MODEL_CONFIG_INVALID',
      /modules\.json.*only Transformer/s,
    ],
    [
      'another name in the config',
      (folder) => writeFileSync(join(folder, 'config.pbtxt'), 'name: "other"'),
      'MODEL_CONFIG_INVALID',
      /"other".*"all-minilm-l6-v2"/,
    ],
  ];
  it.each(damages)(
    '%s is told by name, and does not stop the healthy one',
    async (_, damage, reason, message) => {
      const path = repository();
      copyShippedModel(path, 'healthy');
      writeFileSync(join(path, 'healthy', 'config.pbtxt'), '');
      damage(copyShippedModel(path));
      const { registry, failures } = await load(path);
      expect(failures).toHaveLength(1);
      expect(failures[0]).toMatchObject({ reason, message: expect.stringMatching(message) });
      expect(registry.ready).toBe(false);
      const broken = registry.models.find((model) => model.folder.name === 'all-minilm-l6-v2')!;
      expect(broken).toMatchObject({ state: 'failed', reason: expect.stringMatching(message) });
      await expect(broken.embed(['a'], { truncate: 'end' })).rejects.toMatchObject({
        reason: 'MODEL_NOT_READY',
      });
      expect((await registry.resolve('', 0, 'embed').embed(['a'], { truncate: 'end' })).vectors).toHaveLength(
        1,
      );
    },
  );
});

describe('a repository', () => {
  it('that does not exist or holds no model is refused with the flag to set', async () => {
    const path = repository();
    await expect(load(join(path, 'nowhere'))).rejects.toMatchObject({
      message: expect.stringContaining('--model-repository'),
    });
    mkdirSync(join(path, 'empty-model'));
    await expect(load(path)).rejects.toMatchObject({
      message: expect.stringContaining('<name>/<version>/model.onnx'),
    });
  });

  it('serves the highest version, and keeps the space id of a renamed model', async () => {
    const path = repository();
    const folder = copyShippedModel(path, 'renamed');
    writeFileSync(join(folder, 'config.pbtxt'), '');
    mkdirSync(join(folder, '10'));
    const { registry } = await load(path);
    const original = await load(join(import.meta.dirname, '..', '..', 'model-repository'));
    expect(registry.models.map((model) => model.folder.version)).toEqual([1]);
    expect(registry.models[0]!.space).toBe(original.registry.models[0]!.space);
  });

  it('gives another space to other weights outside the model file, and to another tokenizer', async () => {
    const path = repository();
    const weights = copyShippedModel(path, 'weights');
    writeFileSync(join(weights, '1', 'model.onnx_data'), 'other weights');
    const tokenizer = copyShippedModel(path, 'tokenizer');
    appendFileSync(join(tokenizer, 'tokenizer_config.json'), ' ');
    copyShippedModel(path, 'same');
    for (const name of ['weights', 'tokenizer', 'same']) writeFileSync(join(path, name, 'config.pbtxt'), '');
    const { registry } = await load(path);
    expect(new Set(registry.models.map((model) => model.space)).size).toBe(3);
  });

  it('leaves out a link that leads nowhere', async () => {
    const path = repository();
    symlinkSync(join(path, 'gone'), join(path, 'link'));
    writeFileSync(join(copyShippedModel(path, 'm'), 'config.pbtxt'), '');
    const { registry } = await load(path);
    expect(registry.models.map((model) => model.folder.name)).toEqual(['m']);
  });

  it('asks which one when several models can do the task', async () => {
    const path = repository();
    for (const name of ['a', 'b']) writeFileSync(join(copyShippedModel(path, name), 'config.pbtxt'), '');
    const { registry } = await load(path);
    expect(() => registry.resolve('', 0, 'embed')).toThrow(/several models can embed \(a, b\)/);
    expect(registry.resolve('b', 1, 'embed').folder.name).toBe('b');
  });
});

describe('readModelConfig', () => {
  it('takes task, length and pooling from the hub files and the rest from config.pbtxt', () => {
    const folder = copyShippedModel(repository());
    writeFileSync(
      join(folder, 'config.pbtxt'),
      `max_batch_size: 16
       dynamic_batching { max_queue_delay_microseconds: 250 default_queue_policy { max_queue_size: 9 } }
       instance_group [ { count: 3 kind: KIND_CPU } ]
       parameters { key: "intra_op_thread_count" value { string_value: "2" } }`,
    );
    expect(readModelConfig('all-minilm-l6-v2', folder)).toEqual({
      task: 'embed',
      maxTokens: 256,
      pooling: 'mean',
      normalize: true,
      maxBatchItems: 16,
      maxQueueItems: 9,
      queueDelayUs: 250,
      instances: 3,
      intraOpThreads: 2,
    });
  });
});
