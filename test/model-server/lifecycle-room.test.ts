import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { eventually } from './eventually.ts';
import { addVersion, startLifecycle, target } from './lifecycle-harness.ts';
import { ask, end, loaded, memory, roomFor, roomyRepository, WEIGHTS } from './room.ts';
import { liveWorkers, resetWorkers } from './watched-workers.ts';

vi.mock('../../model-server/executor/thread-channel.ts', async (original) =>
  (await import('./watched-workers.ts')).watched(await original()),
);

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  resetWorkers();
  for (const undo of cleanUp.splice(0).reverse()) await undo();
  expect(liveWorkers.size).toBe(0);
});

function repository(...models: string[]) {
  const { path, remove } = roomyRepository(...models);
  cleanUp.push(remove);
  return path;
}

describe('a new version with room for one only', () => {
  const add = (path: string, version: number, seed: number) =>
    addVersion(join(path, 'm'), version, { seed, weightBytes: WEIGHTS });

  it('does not drive out the one that serves; the list says why, and it comes when there is room', async () => {
    const folder = repository('m', 'other');
    await using server = await startLifecycle(folder, roomFor(1));
    await ask(server, 'm');
    add(folder, 2, 2);
    await server.settle();
    expect(server.evictions).toEqual([]);
    expect(server.states()).toMatchObject({ 'm/1': 'ready', 'm/2': 'unloaded' });
    const second = server.admin.list().find(({ name, version }) => name === 'm' && version === 2);
    expect(second!.reason).toMatch(/model m version 2 needs \d+ MB on cpu; the budget is 83 MB/);
    expect((await ask(server, 'm')).ref.version).toBe(1);
    await server.settle();
    expect((await ask(server, 'm')).ref.version).toBe(1);
    expect(server.evictions).toEqual([]);
    // Somebody else needs the room, and the old one was idle: after that both stand alike, and the new one is meant.
    await ask(server, 'other');
    await server.admin.unload('other');
    await server.settle();
    expect((await ask(server, 'm')).ref.version).toBe(2);
    await eventually(() => expect(server.states()).not.toHaveProperty('m/1'));
    expect(memory(server).rows).toMatchObject([{ owner: 'model m version 2' }]);
  });

  it('comes at a later look when the room has come', async () => {
    const folder = repository('m', 'other');
    await using server = await startLifecycle(folder, roomFor(2));
    await ask(server, 'm');
    await ask(server, 'other');
    {
      using _lease = await server.lifecycle.registry.acquire(target('other'));
      add(folder, 2, 2);
      await server.settle();
      expect(server.states()).toMatchObject({ 'm/1': 'ready', 'm/2': 'unloaded', 'other/1': 'ready' });
    }
    await server.settle();
    expect(server.evictions).toEqual(['other/1']);
    expect((await ask(server, 'm')).ref.version).toBe(2);
    expect(loaded(server)).toEqual(['m/2']);
  });

  it('the same for files that change in their place', async () => {
    const folder = repository('m', 'other');
    await using server = await startLifecycle(folder, roomFor(1));
    const before = (await ask(server, 'm')).ref.space;
    rmSync(join(folder, 'm', '1'), { recursive: true });
    add(folder, 1, 2);
    await server.settle();
    expect(server.evictions).toEqual([]);
    expect(server.admin.list()[0]).toMatchObject({
      state: 'ready',
      reason: expect.stringMatching(/files have changed and can't be used.*needs \d+ MB/),
    });
    expect((await ask(server, 'm')).ref.space).toBe(before);
    await ask(server, 'other');
    await server.admin.unload('other');
    await server.settle();
    expect((await ask(server, 'm')).ref.space).not.toBe(before);
    expect(memory(server).rows).toHaveLength(1);
  });

  it.each(['as version 2', 'in place of version 1'])('tells once that there is no room, %s', async (how) => {
    const folder = repository('m');
    await using server = await startLifecycle(folder, roomFor(1));
    await ask(server, 'm');
    if (how !== 'as version 2') rmSync(join(folder, 'm', '1'), { recursive: true });
    add(folder, how === 'as version 2' ? 2 : 1, 2);
    const told: string[] = [];
    for (let looks = 0; looks < 4; looks++) {
      const failures = await server.lifecycle.registry.look();
      told.push(...failures.map(({ reason }) => reason));
    }
    expect(told).toEqual(['MEMORY_BUDGET_EXCEEDED']);
    await expect(server.admin.load('m')).rejects.toMatchObject({ reason: 'MEMORY_BUDGET_EXCEEDED' });
  });

  it('comes by command once the old one has been unloaded by command', async () => {
    const folder = repository('m');
    await using server = await startLifecycle(folder, roomFor(1));
    await ask(server, 'm');
    add(folder, 2, 2);
    await expect(server.admin.load('m')).rejects.toMatchObject({ reason: 'MEMORY_BUDGET_EXCEEDED' });
    expect((await ask(server, 'm')).ref.version).toBe(1);
    await server.admin.unload('m');
    await server.admin.load('m');
    expect((await ask(server, 'm')).ref.version).toBe(2);
  });

  it('leaves its share of an alias to the version that is in memory, rather than refusing it', async () => {
    const folder = repository('m');
    add(folder, 2, 2);
    writeFileSync(
      join(folder, 'm', 'rollout.yaml'),
      'default: stable\naliases: { stable: { 1: 50, 2: 50 } }\nmixed_spaces: allowed\n',
    );
    await using server = await startLifecycle(folder, roomFor(1));
    // Held, so that it can't make room for the other.
    using _lease = await server.lifecycle.registry.acquire(target('m', { version: 1 }));
    const texts = Array.from({ length: 20 }, (_, i) => `text ${i}`);
    const answers = await Promise.all(
      texts.map((text) => server.lifecycle.serving.embed(target('m'), [text], end)),
    );
    expect(answers.map(({ ref }) => ref.version)).toEqual(texts.map(() => 1));
    await expect(ask(server, 'm', 2)).rejects.toMatchObject({ reason: 'MEMORY_BUDGET_EXCEEDED' });
  });
});
