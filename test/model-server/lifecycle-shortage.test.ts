import { afterEach, expect, it } from 'vitest';
import { startLifecycle, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const MIB = 1024 * 1024;
const cleanUp: (() => unknown)[] = [];
afterEach(() => {
  for (const undo of cleanUp.splice(0).reverse()) undo();
});

it('a machine that runs short is not loaded further, and models come back when it has room again', async () => {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  for (const name of ['a', 'b']) writeTextModel(path, name);
  const machine = { availableBytes: 500 * MIB };
  await using server = await startLifecycle(path, {
    preload: new Set(['a']),
    floorBytes: 100 * MIB,
    readMemory: () => ({ totalBytes: 1000 * MIB, ...machine }),
  });
  const ask = (model: string) =>
    server.lifecycle.serving.embed(target(model), ['a text'], { truncate: 'end' });
  machine.availableBytes = 101 * MIB;
  {
    using _inUse = await server.lifecycle.registry.acquire(target('a'));
    await expect(ask('b')).rejects.toMatchObject({
      reason: 'MEMORY_BUDGET_EXCEEDED',
      retryAfterMs: 5000,
      message: expect.stringMatching(/^model b version 1 needs .* only 1 MB of the machine's memory is free/),
    });
  }
  // What is loaded stays until the floor is reached.
  await server.checkMemory();
  expect(server.states()).toMatchObject({ 'a/1': 'ready', 'b/1': 'unloaded' });
  machine.availableBytes = 99 * MIB;
  await server.checkMemory();
  expect(server.states()).toMatchObject({ 'a/1': 'unloaded' });
  await expect(ask('a')).rejects.toMatchObject({ reason: 'MEMORY_BUDGET_EXCEEDED' });
  machine.availableBytes = 500 * MIB;
  for (const model of ['a', 'b']) await ask(model);
  expect(server.loads).toEqual(['a/1', 'a/1', 'b/1']);
});
