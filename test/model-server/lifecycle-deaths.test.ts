import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { ServingError } from '../../model-server/errors.ts';
import { eventually } from './eventually.ts';
import { expectConsistent } from './expect-consistent.ts';
import { type Harness, type HarnessOptions, startLifecycle, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';
import { killAt, liveWorkers, opened, resetWorkers } from './watched-workers.ts';

vi.mock('../../model-server/executor/thread-channel.ts', async (original) =>
  (await import('./watched-workers.ts')).watched(await original()),
);
vi.mock('../../model-server/executor/process-channel.ts', async (original) =>
  (await import('./watched-workers.ts')).watched(await original()),
);

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  resetWorkers();
  for (const undo of cleanUp.splice(0).reverse()) await undo();
  expect(liveWorkers.size).toBe(0);
});

const ask = (server: Harness, model: string) =>
  server.lifecycle.serving.embed(target(model), ['a text'], { truncate: 'end' });
const caught = (promise: Promise<unknown>) => promise.catch((error: unknown) => error);

describe.each(['thread', 'process'] as const)('a worker in a %s is killed', (isolation) => {
  /** Models "m", whose workers are killed, and "other", which must not notice. */
  function repository(): string {
    const folder = temporaryFolder();
    cleanUp.push(folder.remove);
    for (const name of ['m', 'other']) writeTextModel(folder.path, name);
    const parameter = `parameters { key: "isolation" value: { string_value: "${isolation}" } }`;
    writeFileSync(join(folder.path, 'm', 'config.pbtxt'), parameter);
    return folder.path;
  }

  /** Asks the other model again and again, one request after the other; it must always answer. */
  function keepAsking(server: Harness) {
    let goOn = true;
    const asking = (async () => {
      let answered = 0;
      for (; goOn; answered++) await ask(server, 'other');
      return answered;
    })();
    asking.catch(() => undefined);
    return {
      async stop() {
        goOn = false;
        expect(await asking).toBeGreaterThan(0);
      },
    };
  }

  /** A server that notes whether it was ready at each change that it was told of. */
  async function start(options: HarnessOptions = {}) {
    const seen: boolean[] = [];
    let server: Harness | undefined;
    const onState = () => void setImmediate(() => server && seen.push(server.lifecycle.registry.ready));
    server = await startLifecycle(repository(), { ...options, onState });
    return { server, seen };
  }

  it('while it loads: all that wait hear of it, the others go on, and a command loads it', async () => {
    await using server = await startLifecycle(repository(), { preload: new Set(['other']) });
    const others = keepAsking(server);
    killAt('open', 'm');
    const outcomes = await Promise.all([caught(ask(server, 'm')), caught(ask(server, 'm'))]);
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({
        reason: 'MODEL_LOAD_FAILED',
        message: expect.stringMatching(/model m version 1.*died while it loaded/),
      });
    }
    expect(server.states()).toEqual({ 'm/1': 'failed', 'other/1': 'ready' });
    expect(server.lifecycle.registry.ready).toBe(false);
    expect(await caught(ask(server, 'm'))).toMatchObject({ reason: 'MODEL_NOT_READY' });
    await server.admin.load('m');
    expect((await ask(server, 'm')).vectors).toHaveLength(1);
    expect(server.lifecycle.registry.ready).toBe(true);
    await others.stop();
    await eventually(() => expectConsistent(server));
  });

  it('while it loads: it is tried again by itself after a pause, which grows', async () => {
    let nowMs = 1_000_000;
    killAt('open', 'm', 2);
    await using server = await startLifecycle(repository(), { nowMs: () => nowMs });
    const { registry } = server.lifecycle;
    expect(server.failures).toMatchObject([{ reason: 'MODEL_LOAD_FAILED' }]);
    const triesAfter = async (pauseMs: number) => {
      nowMs += pauseMs;
      registry.recover();
      // Whatever was begun is done when the next command is.
      await registry.look();
      return opened.filter((file) => file.includes('/m/')).length;
    };
    expect(await triesAfter(4_999)).toBe(1);
    expect(await triesAfter(1)).toBe(2);
    expect(await triesAfter(5_000)).toBe(2);
    expect(await triesAfter(5_000)).toBe(3);
    expect(server.states()['m/1']).toBe('ready');
    expect((await ask(server, 'm')).vectors).toHaveLength(1);
    expect(await triesAfter(600_000)).toBe(3);
  });

  it('again and again: given up, it is tried again by itself when some time has passed', async () => {
    let nowMs = 1_000_000;
    const { server } = await start({ defaults: { maxRespawns: 1 }, nowMs: () => nowMs });
    await using _ends = server;
    killAt('run', 'm', 2);
    await caught(ask(server, 'm'));
    await eventually(() => expect(server.states()['m/1']).toBe('failed'));
    server.lifecycle.registry.recover();
    await server.look();
    expect(server.states()['m/1']).toBe('failed');
    nowMs += 5_000;
    server.lifecycle.registry.recover();
    await eventually(() => expect(server.states()['m/1']).toBe('ready'));
    expect((await ask(server, 'm')).vectors).toHaveLength(1);
  });

  it('while it runs: what it ran may be tried again, readiness goes and comes back with a new worker', async () => {
    const { server, seen } = await start();
    await using _ends = server;
    const others = keepAsking(server);
    killAt('run', 'm');
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => caught(ask(server, 'm'))));
    const failed = outcomes.filter((outcome): outcome is ServingError => outcome instanceof Error);
    expect(failed.length).toBeGreaterThan(0);
    for (const error of failed) {
      expect(error).toMatchObject({ reason: 'EXECUTOR_CRASHED', row: { retryable: true } });
    }
    // Those that still waited in the queue were answered by the new one, or can be asked again now.
    expect((await ask(server, 'm')).vectors).toHaveLength(1);
    await eventually(() => expect(server.lifecycle.registry.ready).toBe(true));
    await eventually(() => expect(seen.at(-1)).toBe(true));
    expect(opened.filter((file) => file.includes('/m/'))).toHaveLength(2);
    await others.stop();
    expectConsistent(server);
  });

  it('while it is idle: readiness is false until there is another, and requests meanwhile wait for that', async () => {
    const { server, seen } = await start();
    await using _ends = server;
    expect(server.lifecycle.registry.ready).toBe(true);
    const worker = [...liveWorkers].find(({ modelFile }) => modelFile.includes('/m/'))!;
    worker.kill();
    await eventually(() => expect(server.lifecycle.registry.ready).toBe(false));
    const waiting = ask(server, 'm');
    expect((await ask(server, 'other')).vectors).toHaveLength(1);
    expect((await waiting).vectors).toHaveLength(1);
    expect(server.lifecycle.registry.ready).toBe(true);
    // Whoever only listens to changes has heard of it, too.
    await eventually(() => expect(seen.at(-1)).toBe(true));
    expectConsistent(server);
  });

  it('while it is unloaded: the unload ends all the same', async () => {
    await using server = await startLifecycle(repository());
    const others = keepAsking(server);
    killAt('close', 'm');
    await server.admin.unload('m');
    expect(server.states()).toEqual({ 'm/1': 'unloaded', 'other/1': 'ready' });
    await others.stop();
    expectConsistent(server);
    await server.admin.load('m');
    expect((await ask(server, 'm')).vectors).toHaveLength(1);
  });

  it('again and again: it is given up and says so, and a command brings it back', async () => {
    const { server, seen } = await start({ defaults: { maxRespawns: 1 } });
    await using _ends = server;
    const others = keepAsking(server);
    killAt('run', 'm', 2);
    expect(await caught(ask(server, 'm'))).toMatchObject({ row: { retryable: true } });
    // The second dies of the batch that it has to prove itself with.
    await eventually(() => expect(server.states()['m/1']).toBe('failed'));
    expect(await caught(ask(server, 'm'))).toMatchObject({
      reason: 'MODEL_NOT_READY',
      row: { retryable: true },
      message: expect.stringContaining('crashed more than 1 times within a minute'),
    });
    await eventually(() => expect(seen.at(-1)).toBe(false));
    await others.stop();
    // Who names no model hears the cause, too.
    await server.admin.unload('other');
    expect(await caught(ask(server, ''))).toMatchObject({
      reason: 'MODEL_NOT_READY',
      message: expect.stringMatching(/no model that can embed is ready: .*crashed more than 1 times/),
    });
    await server.admin.load('other');
    await server.admin.load('m');
    expect((await ask(server, 'm')).vectors).toHaveLength(1);
    await eventually(() => expect(seen.at(-1)).toBe(true));
    expectConsistent(server);
  });
});
