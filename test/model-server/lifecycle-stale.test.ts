import { copyFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import type { Target } from '../../model-server/models/target.ts';
import { addVersion, type Harness, startLifecycle, target } from './lifecycle-harness.ts';
import { textEncoder, writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

/** Model m, loaded, with what it answers. */
async function serving(options: Parameters<typeof startLifecycle>[1] = {}) {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  const folder = writeTextModel(path, 'm');
  const server = await startLifecycle(path, options);
  cleanUp.push(() => server[Symbol.asyncDispose]());
  return { path, folder, model: join(folder, '1', 'model.onnx'), server };
}

async function ask(server: Harness, more: Partial<Target> = {}) {
  const { ref, vectors } = await server.lifecycle.serving.embed(target('m', more), ['hello'], {
    truncate: 'end',
  });
  return { space: ref.space, vector: vectors[0] };
}

const caught = <T>(answer: Promise<T>): Promise<T | ServingError> =>
  answer.catch((error: unknown) => ServingError.from(error));

describe('files that change while their version is unloaded', () => {
  it('are not served as what was there before', async () => {
    const { model, server } = await serving();
    const before = await ask(server);
    await server.admin.unload('m', 1);
    writeFileSync(model, textEncoder({ seed: 2 }));
    await expect(ask(server)).rejects.toMatchObject({
      reason: 'MODEL_NOT_READY',
      message: expect.stringMatching(/model m version 1: its files have changed/),
    });
    expect(server.states()).toEqual({ 'm/1': 'unloaded' });
    await server.settle();
    const after = await ask(server);
    expect(after.space).not.toBe(before.space);
    expect(after.vector).not.toEqual(before.vector);
  });

  it('do not matter when they decide no vector: a broken config.pbtxt', async () => {
    const { folder, server } = await serving();
    const before = await ask(server);
    await server.admin.unload('m', 1);
    writeFileSync(join(folder, 'config.pbtxt'), 'max_batch_size: many');
    expect(await ask(server)).toEqual(before);
    await server.admin.unload('m', 1);
    await server.settle();
    expect(await ask(server)).toEqual(before);
  });

  it('do not let an older version of another space answer meanwhile', async () => {
    const { folder, server } = await serving();
    addVersion(folder, 2, { seed: 2 });
    writeFileSync(join(folder, 'config.pbtxt'), 'version_policy { all {} }');
    await server.settle();
    const old = await ask(server, { version: 1 });
    await server.admin.unload('m', 2);
    addVersion(folder, 2, { seed: 3 });
    const seen = new Set<string>();
    const looking = [caught(ask(server)), server.settle()];
    let isDone = false;
    void Promise.all(looking).then(() => (isDone = true));
    while (!isDone) {
      const answer = await caught(ask(server));
      seen.add('space' in answer ? answer.space : answer.reason);
      await new Promise(setImmediate);
    }
    seen.add((await ask(server)).space);
    expect(seen).not.toContain(old.space);
  });

  it('are served again when the old ones are put back', async () => {
    const { model, server } = await serving({ mode: 'none' });
    const before = await ask(server);
    await server.admin.unload('m', 1);
    renameSync(model, `${model}.tmp`);
    writeFileSync(model, textEncoder({ seed: 2 }));
    await expect(ask(server)).rejects.toMatchObject({ reason: 'MODEL_NOT_READY' });
    expect(server.admin.list()).toMatchObject([{ answers: false }]);
    renameSync(`${model}.tmp`, model);
    expect(await ask(server)).toEqual(before);
    expect(server.admin.list()).toMatchObject([{ answers: true }]);
  });

  it('are served when they say the same as before', async () => {
    const { model, server } = await serving({ mode: 'none' });
    const before = await ask(server);
    await server.admin.unload('m', 1);
    copyFileSync(model, `${model}.tmp`);
    renameSync(`${model}.tmp`, model);
    expect(await ask(server)).toEqual(before);
  });
});
