import { appendFileSync, mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type HarnessOptions, startLifecycle, target } from './lifecycle-harness.ts';
import { textEncoderTable, writeTextModel } from './onnx-writer.ts';
import { copyShippedModel, shippedRepository, temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

function repository() {
  const folder = temporaryFolder();
  cleanUp.push(folder.remove);
  return folder.path;
}

const end = { truncate: 'end' } as const;

async function start(path: string, options: HarnessOptions = {}) {
  const server = await startLifecycle(path, options);
  cleanUp.push(() => server[Symbol.asyncDispose]());
  return server;
}

/** Name and space of every model that serves. */
const spacesOf = async (path: string) => {
  const { admin, failures } = await start(path);
  expect(failures).toEqual([]);
  const ready = admin.list().filter(({ state }) => state === 'ready');
  return Object.fromEntries(ready.map(({ name, space }) => [name, space]));
};

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
      'MODEL_NOT_READY',
      /model\.onnx is not a whole ONNX file/,
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
      const { lifecycle, admin, failures } = await start(path);
      expect(failures).toHaveLength(1);
      expect(failures[0]).toMatchObject({ reason, message: expect.stringMatching(message) });
      expect(lifecycle.registry.ready).toBe(false);
      const broken = admin.list().find(({ name }) => name === 'all-minilm-l6-v2')!;
      // What is torn may still be on its way.
      expect(broken.state).toBe(reason === 'MODEL_NOT_READY' ? 'unloaded' : 'failed');
      expect(broken.reason).toMatch(message);
      const { serving } = lifecycle;
      await expect(serving.embed(target('all-minilm-l6-v2'), ['a'], end)).rejects.toMatchObject({
        reason: 'MODEL_NOT_READY',
        message: expect.stringMatching(message),
      });
      expect((await serving.embed(target(''), ['a'], end)).ref.name).toBe('healthy');
    },
  );
});

describe('a repository', () => {
  it('that does not exist is refused with the flag to set', async () => {
    await expect(start(join(repository(), 'nowhere'))).rejects.toMatchObject({
      message: expect.stringContaining('--model-repository'),
    });
  });

  it('that holds no model is refused where nothing can come later, and else is not ready', async () => {
    const path = repository();
    mkdirSync(join(path, 'empty-model'));
    await expect(start(path, { mode: 'none' })).rejects.toMatchObject({
      reason: 'MODEL_CONFIG_INVALID',
      message: expect.stringContaining('<name>/<version>/model.onnx'),
    });
    const { lifecycle, failures } = await start(path);
    expect(failures).toEqual([]);
    expect(lifecycle.registry.ready).toBe(false);
    // There nothing is served before it is loaded.
    expect((await start(path, { mode: 'explicit' })).lifecycle.registry.ready).toBe(true);
  });

  it('serves the highest version that is whole, and keeps the space id of a renamed model', async () => {
    const path = repository();
    const folder = copyShippedModel(path, 'renamed');
    writeFileSync(join(folder, 'config.pbtxt'), '');
    mkdirSync(join(folder, '10'));
    const { renamed } = await spacesOf(path);
    expect(renamed).toMatch(/^\w{8,}/);
    expect(await spacesOf(shippedRepository)).toEqual({ 'all-minilm-l6-v2': renamed });
  });

  it('gives another space to other weights outside the model file, and to another tokenizer', async () => {
    const path = repository();
    const external = 'table.bin';
    for (const name of ['one', 'same', 'tokenizer']) writeTextModel(path, name, { external });
    appendFileSync(join(path, 'tokenizer', 'tokenizer_config.json'), ' ');
    writeTextModel(path, 'weights', { external });
    writeFileSync(join(path, 'weights', '1', external), textEncoderTable({ seed: 2 }));
    const { one, same, tokenizer, weights } = await spacesOf(path);
    expect(same).toBe(one);
    expect(new Set([one, tokenizer, weights]).size).toBe(3);
  });

  it('leaves out a link that leads nowhere', async () => {
    const path = repository();
    symlinkSync(join(path, 'gone'), join(path, 'link'));
    writeFileSync(join(copyShippedModel(path, 'm'), 'config.pbtxt'), '');
    const { admin } = await start(path);
    expect(admin.list()).toMatchObject([{ name: 'm', version: 1, state: 'ready' }]);
  });

  it('asks which one when several models can do the task', async () => {
    const path = repository();
    for (const name of ['a', 'b']) writeFileSync(join(copyShippedModel(path, name), 'config.pbtxt'), '');
    const { serving } = (await start(path)).lifecycle;
    await expect(serving.embed(target(''), ['x'], end)).rejects.toMatchObject({
      reason: 'INVALID_INPUT',
      message: expect.stringMatching(/several models can embed \(a, b\)/),
    });
    const { ref } = await serving.embed(target('b', { version: 1 }), ['x'], end);
    expect(ref).toMatchObject({ name: 'b', version: 1 });
  });
});
