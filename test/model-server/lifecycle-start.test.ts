import { mkdirSync, readdirSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { serverConfigSchema } from '../../model-server/config.ts';
import { type RunningServer, run } from '../../model-server/main.ts';
import { textEncoder, writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

function repository(...models: string[]) {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  for (const name of models) writeTextModel(path, name);
  return path;
}

const modelFile = (path: string, name: string) => join(path, name, '1', 'model.onnx');
const tear = (path: string, name: string) => truncateSync(modelFile(path, name), 3000);
const spoil = (path: string, name: string) =>
  writeFileSync(modelFile(path, name), textEncoder({ opset: 999 }));

/** A server whose looks are near to each other, and to which all files seem to have been there for long. */
async function start(path: string, settings: Record<string, unknown> = {}): Promise<RunningServer> {
  for (const file of readdirSync(path, { recursive: true })) utimesSync(join(path, String(file)), 1, 1);
  const free = { grpcPort: 0, httpPort: 0, metricsPort: 0, logLevel: 'silent', instances: 1 };
  const quick = { repositoryPollSecs: 0.02, warmUpMs: 0, executionProvider: 'cpu' };
  const config = serverConfigSchema.parse({ ...free, ...quick, modelRepository: path, ...settings });
  const server = await run(config);
  cleanUp.push(() => server.close());
  return server;
}

const get = async ({ httpPort }: RunningServer, path: string) => {
  const reply = await fetch(`http://127.0.0.1:${httpPort}${path}`);
  return { status: reply.status, body: await reply.text() };
};
const isReady = async (server: RunningServer) => (await get(server, '/v2/health/ready')).status === 200;
const statesOf = async (server: RunningServer) => {
  const { models } = JSON.parse((await get(server, '/readyz')).body);
  return Object.fromEntries(
    models.map((model: { name: string; state: string }) => [model.name, model.state]),
  );
};

describe('a start at which nothing can be served', () => {
  it.each([
    ['is torn', tear, /no model could be loaded: .*m version 1: model\.onnx is not a whole ONNX file/],
    ['can not be opened', spoil, /no model could be loaded: .*model\.onnx can't be opened/],
  ])('ends in mode none when the only model %s', async (_, damage, why) => {
    const path = repository('m');
    damage(path, 'm');
    await expect(start(path, { modelControlMode: 'none' })).rejects.toMatchObject({
      reason: 'MODEL_LOAD_FAILED',
      message: expect.stringMatching(why),
    });
  });

  it('ends in mode none when there is no model', async () => {
    const path = repository();
    mkdirSync(join(path, 'notes'));
    await expect(start(path, { modelControlMode: 'none' })).rejects.toThrow(/holds no model/);
  });

  it('ends in any mode when there is no repository', async () => {
    const path = join(repository(), 'nowhere');
    for (const modelControlMode of ['none', 'poll', 'explicit']) {
      const config = { grpcPort: 0, httpPort: 0, metricsPort: 0, logLevel: 'silent', modelControlMode };
      const starting = run(serverConfigSchema.parse({ ...config, modelRepository: path }));
      await expect(starting).rejects.toThrow(/nowhere is not a folder.*--model-repository/);
    }
  });

  it.each([
    ['torn', tear],
    ['unfit', spoil],
  ])('does not end in mode poll: it is not ready until the %s file is whole', async (_, damage) => {
    const path = repository('m');
    damage(path, 'm');
    const server = await start(path);
    expect((await get(server, '/v2/health/live')).status).toBe(200);
    expect(await isReady(server)).toBe(false);
    writeFileSync(modelFile(path, 'm'), textEncoder());
    await vi.waitFor(async () => expect(await isReady(server)).toBe(true), 5000);
    expect(await statesOf(server)).toEqual({ m: 'ready' });
  });

  it('does not end in mode poll when there is no model yet', async () => {
    const path = repository();
    const server = await start(path);
    expect(await isReady(server)).toBe(false);
    writeTextModel(path, 'm');
    await vi.waitFor(async () => expect(await isReady(server)).toBe(true), 5000);
  });
});

describe('a start at which one of several models is bad', () => {
  it.each([
    ['torn', tear],
    ['unfit', spoil],
  ])('ends with --exit-on-error when it is %s, and says which', async (_, damage) => {
    const path = repository('a', 'm');
    damage(path, 'm');
    await expect(start(path, { exitOnError: true })).rejects.toMatchObject({
      reason: 'MODEL_LOAD_FAILED',
      message: expect.stringMatching(/a model could not be loaded \(--exit-on-error\): .*m.*model\.onnx/s),
    });
  });

  it.each(['none', 'poll'])('goes on otherwise; readiness is what was asked for (mode %s)', async (mode) => {
    const path = repository('a', 'm');
    spoil(path, 'm');
    const strict = await start(path, { modelControlMode: mode });
    expect(await statesOf(strict)).toEqual({ a: 'ready', m: 'failed' });
    expect(await isReady(strict)).toBe(false);
    const lax = await start(path, { modelControlMode: mode, strictReadiness: false });
    expect(await isReady(lax)).toBe(true);
  });

  it('with --load-model of a model that is not there: ends with --exit-on-error only', async () => {
    const path = repository('a');
    const settings = { modelControlMode: 'explicit', loadModel: 'a, typo' };
    await expect(start(path, { ...settings, exitOnError: true })).rejects.toThrow(
      /no model "typo".*it has a/,
    );
    const server = await start(path, settings);
    expect(await isReady(server)).toBe(true);
  });
});

describe('--load-model in mode explicit', () => {
  it.each([
    ['', { a: 'unloaded', b: 'unloaded' }],
    ['b', { a: 'unloaded', b: 'ready' }],
    ['*', { a: 'ready', b: 'ready' }],
  ])('"%s"', async (loadModel, states) => {
    const path = repository('a', 'b');
    const server = await start(path, { modelControlMode: 'explicit', loadModel });
    expect(await statesOf(server)).toEqual(states);
    expect(await isReady(server)).toBe(true);
  });
});
