import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { type Harness, type HarnessOptions, startLifecycle, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { copyShippedModel, temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

function folder(): string {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  return path;
}

async function start(path: string, options: HarnessOptions = {}): Promise<Harness> {
  const server = await startLifecycle(path, options);
  cleanUp.push(() => server[Symbol.asyncDispose]());
  return server;
}

async function shown(server: Harness, name: string, field: string): Promise<unknown> {
  const [details] = await server.admin.show(name);
  return details!.effectiveConfig.find((value) => value.field === field);
}

const embed = async (server: Harness, name: string, ...texts: string[]) =>
  (await server.lifecycle.serving.embed(target(name), texts, { truncate: 'end' })).vectors;

describe('what is told of packing', () => {
  it('a model that is packed says so, and one whose config or server says off does not', async () => {
    const path = folder();
    copyShippedModel(path, 'all-minilm-l6-v2');
    const off = copyShippedModel(path, 'padded');
    writeFileSync(join(off, 'config.pbtxt'), 'parameters { key: "packing" value { string_value: "off" } }');
    const server = await start(path);
    expect(await shown(server, 'all-minilm-l6-v2', 'batches')).toEqual({
      field: 'batches',
      value: 'packed, without padding',
      source: 'model.onnx',
    });
    expect(await shown(server, 'padded', 'batches')).toMatchObject({ value: 'padded: packing is off' });
    expect(await shown(server, 'padded', 'packing')).toMatchObject({ value: 'off' });
    for (const { instances } of server.admin.list()) expect(instances[0]!.note).toBe('');
    const texts = ['red', 'a longer text about cats and dogs, and what they do all day', 'two words'];
    expect(await embed(server, 'all-minilm-l6-v2', ...texts)).toEqual(
      await embed(server, 'padded', ...texts),
    );
    await server.admin.unload('all-minilm-l6-v2');
    expect(await shown(server, 'all-minilm-l6-v2', 'batches')).toBeUndefined();
  });

  it('the server can turn it off for all, and a model on again for itself', async () => {
    const path = folder();
    writeTextModel(path, 'off');
    const own = writeTextModel(path, 'own');
    writeFileSync(join(own, 'config.pbtxt'), 'parameters { key: "packing" value { string_value: "auto" } }');
    const server = await start(path, { defaults: { packing: 'off' } });
    expect(await shown(server, 'off', 'batches')).toMatchObject({ value: 'padded: packing is off' });
    expect(await shown(server, 'own', 'batches')).toMatchObject({ value: 'packed, without padding' });
  });

  it('a graph that can not be packed is served as it is, and the log tells why to those who look', async () => {
    const path = folder();
    writeTextModel(path, 'm', { neighbours: true });
    const lines: string[] = [];
    const log = pino({ level: 'debug' }, { write: (line) => void lines.push(line) });
    const server = await start(path, { log });
    const why = 'operator ReduceMean (mean): it works across tokens or rows';
    expect(await shown(server, 'm', 'batches')).toMatchObject({ value: `padded: ${why}` });
    const told = lines
      .map((line): Record<string, unknown> => JSON.parse(line))
      .filter(({ msg }) => msg === 'texts are padded');
    expect(told).toEqual([expect.objectContaining({ level: 20, owner: 'model m version 1', why })]);
    expect(await embed(server, 'm', 'a text')).toHaveLength(1);
  });
});
