import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { keepAsking, startLifecycle, target } from './lifecycle-harness.ts';
import { textEncoder, textEncoderTable, writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

/** A server with version 1 of model m and callers who never pause. */
async function busy() {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  const folder = writeTextModel(path, 'm');
  const server = await startLifecycle(path);
  cleanUp.push(() => server[Symbol.asyncDispose]());
  const traffic = keepAsking(server, 'm');
  await traffic.oneMoreRound();
  /** One look at which nothing may be loaded. */
  const lookInVain = async () => {
    await server.look();
    expect(server.history).toEqual(['m/1 loading', 'm/1 ready']);
  };
  /** Looks that must find version 2 and change over to it, once. */
  const changeOver = async () => {
    await server.settle();
    await traffic.oneMoreRound();
    await traffic.stop();
    expect(traffic.failures).toEqual([]);
    expect(traffic.versions.at(-1)).toBe(2);
    await vi.waitFor(() =>
      expect(server.history.slice(2)).toEqual(['m/2 loading', 'm/2 ready', 'm/1 draining', 'm/1 unloaded']),
    );
  };
  return { path, folder, server, lookInVain, changeOver };
}

const model = textEncoder({ seed: 2 });

describe('a version is taken when it is whole and has come to rest', () => {
  it('though its model file is written slowly', async () => {
    const { folder, lookInVain, changeOver } = await busy();
    mkdirSync(join(folder, '2'));
    const step = Math.ceil(model.length / 5);
    for (let at = 0; at < model.length; at += step) {
      await lookInVain();
      appendFileSync(join(folder, '2', 'model.onnx'), model.subarray(at, at + step));
    }
    await lookInVain();
    await changeOver();
  });

  it('though its files are copied one by one, the model file first', async () => {
    const { folder, lookInVain, changeOver } = await busy();
    mkdirSync(join(folder, '2'));
    writeFileSync(join(folder, '2', 'model.onnx'), model);
    for (const name of ['tokenizer_config.json', 'tokenizer.json']) {
      await lookInVain();
      copyFileSync(join(folder, name), join(folder, '2', name));
    }
    await lookInVain();
    await changeOver();
  });

  it('though its weights come after the file that names them', async () => {
    const { folder, server, lookInVain, changeOver } = await busy();
    mkdirSync(join(folder, '2'));
    writeFileSync(
      join(folder, '2', 'model.onnx'),
      textEncoder({ seed: 2, weightBytes: 10_000, external: 'table.bin' }),
    );
    await lookInVain();
    await lookInVain();
    expect(server.admin.list().find(({ version }) => version === 2)?.reason).toMatch(/table\.bin is missing/);
    const table = textEncoderTable({ seed: 2, weightBytes: 10_000 });
    for (const half of [table.subarray(0, 5000), table.subarray(5000)]) {
      appendFileSync(join(folder, '2', 'table.bin'), half);
      await lookInVain();
    }
    await changeOver();
  });

  it('when its folder is renamed into place', async () => {
    const { folder, lookInVain, changeOver } = await busy();
    mkdirSync(join(folder, '.incoming'));
    await lookInVain();
    writeFileSync(join(folder, '.incoming', 'model.onnx'), model);
    await lookInVain();
    renameSync(join(folder, '.incoming'), join(folder, '2'));
    await changeOver();
  });

  it('when it is a link to a folder elsewhere, once that is there', async () => {
    const { path, folder, lookInVain, changeOver } = await busy();
    symlinkSync(join(path, '.store'), join(folder, '2'));
    await lookInVain();
    mkdirSync(join(path, '.store'));
    await lookInVain();
    writeFileSync(join(path, '.store', 'model.onnx'), model);
    await changeOver();
  });
});

it('a farm of links that is turned to other files at once is taken over with them', async () => {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  // As a volume of Kubernetes: everything links through ..data, which is exchanged in one step.
  const [old, next] = ['..old', '..next'].map((name) => join(path, name));
  for (const [at, folder] of [old!, next!].entries()) {
    writeTextModel(folder, 'm', { seed: at + 1 });
  }
  symlinkSync('..old', join(path, '..data'));
  symlinkSync('..data/m', join(path, 'm'));
  await using server = await startLifecycle(path);
  const ask = async () => {
    const { vectors } = await server.lifecycle.serving.embed(target('m'), ['hello'], { truncate: 'end' });
    return vectors[0]!;
  };
  const before = await ask();
  const traffic = keepAsking(server, 'm');
  symlinkSync('..next', join(path, '..data_tmp'));
  renameSync(join(path, '..data_tmp'), join(path, '..data'));
  rmSync(old!, { recursive: true });
  await server.settle();
  await traffic.oneMoreRound();
  await traffic.stop();
  expect(traffic.failures).toEqual([]);
  expect(await ask()).not.toEqual(before);
  expect(server.history.filter((change) => change === 'm/1 loading')).toHaveLength(2);
});
