import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { LayoutCache } from '../../model-server/models/layout/layout-cache.ts';
import { RUNTIME_BYTES } from '../../model-server/models/memory/predict.ts';
import { eventually } from './eventually.ts';
import { type Harness, type HarnessOptions, startLifecycle, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';
import { MIB, PREDICTED, WEIGHTS } from './room.ts';
import { hold, liveWorkers, opened, resetWorkers } from './watched-workers.ts';

vi.mock('../../model-server/executor/thread-channel.ts', async (original) =>
  (await import('./watched-workers.ts')).watched(await original()),
);

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  resetWorkers();
  for (const undo of cleanUp.splice(0).reverse()) await undo();
  expect(liveWorkers.size).toBe(0);
});

function folder(): string {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  return path;
}

function repository(config = '', options: Parameters<typeof writeTextModel>[2] = {}): string {
  const path = folder();
  writeTextModel(path, 'm', options);
  if (config !== '') writeFileSync(join(path, 'm', 'config.pbtxt'), config);
  return path;
}

const silent = pino({ level: 'silent' });
/** Time enough for any machine: it ends when all has been timed. */
const tuning = (cacheFolder: string | undefined, cores = 2) => ({
  tuneMs: 600_000,
  cores,
  cache: new LayoutCache(cacheFolder, silent),
});
const open = { defaults: { instances: 2, fixed: { instances: false, intraOpThreads: false } } };
const start = (path: string, options: HarnessOptions) => startLifecycle(path, { ...open, ...options });

const threads = (server: Harness) => server.admin.list()[0]!.instances.map((instance) => instance.threads);
async function sources(server: Harness): Promise<string[]> {
  const [details] = await server.admin.show('m');
  return details!.effectiveConfig
    .filter(({ field }) => ['instances', 'threads', 'lone_threads'].includes(field))
    .map(({ field, value, source }) => `${field} ${value} <- ${source}`);
}
const ask = (server: Harness) => server.lifecycle.serving.embed(target('m'), ['a text'], { truncate: 'end' });
const parameter = (key: string, value: string) =>
  `parameters { key: "${key}" value { string_value: "${value}" } }`;

describe('a version whose layout nobody names', () => {
  it('is timed once, and begins with what was found from then on', async () => {
    const path = repository();
    const cache = folder();
    let found: number[];
    {
      await using first = await start(path, { tuning: tuning(cache) });
      found = threads(first);
      expect(await sources(first)).toContainEqual(expect.stringMatching(/^instances [12] <- measured$/));
      expect((await ask(first)).vectors).toHaveLength(1);
    }
    expect(opened.length).toBe(3);
    opened.length = 0;
    await using second = await start(path, { tuning: tuning(cache) });
    expect(threads(second)).toEqual(found);
    expect(opened).toHaveLength(found.length);
    expect(await sources(second)).toContainEqual(
      expect.stringMatching(/^threads [12] <- cache of \d{4}-\d\d-\d\d$/),
    );
    expect((await ask(second)).vectors).toHaveLength(1);
  });

  it('is timed once for each server where nothing can be written', async () => {
    const path = repository();
    for (let time = 0; time < 2; time++) {
      opened.length = 0;
      await using server = await start(path, { tuning: tuning(undefined) });
      expect(opened).toHaveLength(3);
      const found = threads(server);
      await server.admin.unload('m');
      opened.length = 0;
      await server.admin.load('m');
      expect(opened).toHaveLength(found.length);
      expect(threads(server)).toEqual(found);
    }
  });

  it('is not tried again and again by a server that has no time for it', async () => {
    let nowMs = 0;
    const path = repository();
    const cache = folder();
    // Every look at the clock takes a second: one layout can be opened, but not timed.
    const options = { nowMs: () => (nowMs += 1000), tuning: { ...tuning(cache), tuneMs: 10_000 } };
    await using server = await start(path, options);
    expect(opened).toHaveLength(3);
    expect(threads(server)).toEqual([1, 1]);
    await server.admin.unload('m');
    opened.length = 0;
    await server.admin.load('m');
    expect(opened).toHaveLength(2);
    expect(await sources(server)).toContain('instances 2 <- default');
    expect(() => readFileSync(join(cache, 'layouts.json'))).toThrow(/ENOENT/);
  });

  it('is as it would be without tuning when there is no time, and is not remembered', async () => {
    const cache = folder();
    await using server = await start(repository(), { tuning: { ...tuning(cache), tuneMs: 0 } });
    expect(threads(server)).toEqual([1, 1]);
    expect(await sources(server)).toEqual([
      'instances 2 <- default',
      'threads 1 <- default',
      'lone_threads none <- default',
    ]);
    expect(() => readFileSync(join(cache, 'layouts.json'))).toThrow(/ENOENT/);
  });

  it('is not timed where others are being served: it would be at their expense', async () => {
    const path = repository();
    writeTextModel(path, 'other');
    await using server = await start(path, { tuning: tuning(folder()), preload: new Set(['other']) });
    const held = hold('run', 'other');
    const asking = server.lifecycle.serving.embed(target('other'), ['a text'], { truncate: 'end' });
    await held.reached;
    opened.length = 0;
    await server.admin.load('m');
    expect(opened).toHaveLength(2);
    held.release();
    await asking;
  });
});

describe('nothing is timed', () => {
  it.each<[string, string, HarnessOptions, number[], string[]]>([
    [
      'where the config counts instances',
      'instance_group [{ count: 3, kind: KIND_CPU }]',
      {},
      [1, 1, 1],
      ['instances 3 <- config.pbtxt instance_group', 'threads 1 <- default', 'lone_threads none <- default'],
    ],
    [
      'where the config names threads',
      parameter('intra_op_thread_count', '2'),
      {},
      [2, 2],
      [
        'instances 2 <- default',
        'threads 2 <- config.pbtxt parameters intra_op_thread_count',
        'lone_threads none <- default',
      ],
    ],
    [
      'where the config names threads for lone requests, and they are there',
      parameter('lone_threads', '3'),
      {},
      [1, 1, 3],
      [
        'instances 2 <- default',
        'threads 1 <- default',
        'lone_threads 3 <- config.pbtxt parameters lone_threads',
      ],
    ],
    [
      'where the operator names instances',
      '',
      { defaults: { instances: 1, fixed: { instances: true, intraOpThreads: false } } },
      [1],
      ['instances 1 <- --instances', 'threads 1 <- default', 'lone_threads none <- default'],
    ],
    [
      'where the operator names threads',
      '',
      { defaults: { instances: 2, intraOpThreads: 2, fixed: { instances: false, intraOpThreads: true } } },
      [2, 2],
      ['instances 2 <- default', 'threads 2 <- --intra-op-threads', 'lone_threads none <- default'],
    ],
    [
      'with one core',
      '',
      { tuning: tuning(undefined, 1), defaults: { ...open.defaults, instances: 1 } },
      [1],
      ['instances 1 <- default', 'threads 1 <- default', 'lone_threads none <- default'],
    ],
  ])('%s', async (_what, config, options, expectedThreads, expectedSources) => {
    await using server = await start(repository(config), { tuning: tuning(folder()), ...options });
    expect(threads(server)).toEqual(expectedThreads);
    expect(await sources(server)).toEqual(expectedSources);
    expect(opened).toHaveLength(expectedThreads.length);
  });

  it('in processes', async () => {
    const config = parameter('isolation', 'process');
    await using server = await start(repository(config), { tuning: tuning(folder()) });
    expect(threads(server)).toEqual([1, 1]);
  });
});

describe('memory', () => {
  const room = (bytes: number): HarnessOptions => ({
    residentBytes: () => 0,
    readMemory: () => ({ totalBytes: 1000 * MIB, availableBytes: 1000 * MIB }),
    budgetBytes: RUNTIME_BYTES + bytes,
  });
  const remembered = async (lone: number) => {
    const cache = folder();
    const path = repository('', { weightBytes: WEIGHTS });
    // The name is that of this file on this machine, whatever was found.
    await using _ = await start(path, { tuning: tuning(cache) });
    const file = join(cache, 'layouts.json');
    const content = JSON.parse(readFileSync(file, 'utf8'));
    for (const entry of Object.values<{ layout: object }>(content.layouts))
      entry.layout = { instances: 2, threads: 1, lone };
    writeFileSync(file, JSON.stringify(content));
    return { path, cache };
  };

  it('that is too small for a layout on trial keeps it from being opened', async () => {
    const path = repository('', { weightBytes: WEIGHTS });
    await using server = await start(path, { tuning: tuning(folder()), ...room(2 * PREDICTED) });
    expect(threads(server)).toEqual([1, 1]);
    expect(opened).toHaveLength(2);
  });

  it('that is too small for the usual layout makes it a smaller one', async () => {
    const path = repository('', { weightBytes: WEIGHTS });
    await using server = await start(path, { tuning: tuning(folder()), ...room(PREDICTED) });
    expect(threads(server)).toEqual([2]);
    expect((await ask(server)).vectors).toHaveLength(1);
  });

  it('of an instance for lone requests is predicted with the rest', async () => {
    const { path, cache } = await remembered(2);
    await using server = await start(path, { tuning: tuning(cache), ...room(3 * PREDICTED) });
    expect(threads(server)).toEqual([1, 1, 2]);
    await using narrow = await start(path, {});
    const predictedBytes = (of: Harness) => of.admin.memory()[0]!.rows[0]!.predictedBytes;
    expect(predictedBytes(server) / predictedBytes(narrow)).toBeCloseTo(3 / 2);
  });

  it('is not taken from others for the sake of lone requests', async () => {
    const { path, cache } = await remembered(2);
    writeTextModel(path, 'other', { weightBytes: WEIGHTS });
    const config = 'instance_group [{ count: 1 }]';
    writeFileSync(join(path, 'other', 'config.pbtxt'), config);
    const options = { tuning: tuning(cache), ...room(2 * PREDICTED + WEIGHTS), preload: new Set(['other']) };
    await using server = await start(path, options);
    await server.admin.load('m');
    expect(server.states()).toEqual({ 'm/1': 'ready', 'other/1': 'ready' });
    expect(server.admin.list().find(({ name }) => name === 'm')!.instances).toHaveLength(2);
    expect(server.evictions).toEqual([]);
  });

  it('a remembered layout of more cores than there are counts for nothing', async () => {
    const { path, cache } = await remembered(64);
    opened.length = 0;
    await using server = await start(path, { tuning: tuning(cache) });
    expect(opened).toHaveLength(3);
    expect(threads(server)).not.toContain(64);
  });
});

it('a server that is stopped while a layout is timed ends at once, with nothing left running', async () => {
  const path = repository();
  const first = hold('open', 'm');
  const cache = folder();
  const server = await start(path, { tuning: tuning(cache), preload: new Set() });
  const loading = server.admin.load('m').catch((error: unknown) => error);
  await first.reached;
  await eventually(() => expect(opened).toHaveLength(2));
  const second = hold('open', 'm');
  first.release();
  await second.reached;
  expect(server.admin.memory()[0]!.rows.map(({ owner }) => owner)).toContain('model m version 1 (on trial)');
  const ended = server.lifecycle.destroy();
  second.release();
  await ended;
  expect(await loading).toMatchObject({ reason: 'SERVER_STOPPING' });
  expect(server.admin.memory()[0]!.rows).toEqual([]);
  expect(() => readFileSync(join(cache, 'layouts.json'))).toThrow(/ENOENT/);
  await server[Symbol.asyncDispose]();
});
