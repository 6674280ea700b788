import { status } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import type { ServingPort } from '../../model-server/api/ports.ts';
import { ServingError } from '../../model-server/errors.ts';
import { GRPCInferenceService } from '../../proto/gen/inference_pb.js';
import { type FakeServerOptions, fakeAdmin, fakeServing, report, startApi } from './fake-models.ts';
import { TestClient } from './grpc-client.ts';

const { modelMetadata, modelReady, repositoryIndex, repositoryModelLoad, repositoryModelUnload } =
  GRPCInferenceService.method;
const change = (client: TestClient, name: 'repositoryModelLoad' | 'repositoryModelUnload') =>
  name === 'repositoryModelLoad'
    ? client.ask(repositoryModelLoad, { modelName: 'mini' })
    : client.ask(repositoryModelUnload, { modelName: 'mini' });
const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
const start = async (options: FakeServerOptions = {}) => {
  const api = await startApi(options);
  const client = new TestClient(api.grpcPort);
  closers.push(api.close, () => client.close());
  return client;
};

describe('health and metadata', () => {
  it('says what is alive and ready', async () => {
    const admin = fakeAdmin({
      readiness: () => ({ ready: false, models: [] }),
      list: () => [
        report(),
        report({ version: 2, answers: false, state: 'failed' }),
        report({ name: 'lazy', state: 'unloaded' }),
        report({ name: 'drained', answers: false }),
      ],
    });
    const client = await start({ admin });
    const { serverLive, serverReady, serverMetadata } = GRPCInferenceService.method;
    expect((await client.ask(serverLive, {})).live).toBe(true);
    expect((await client.ask(serverReady, {})).ready).toBe(false);
    expect(await client.ask(serverMetadata, {})).toMatchObject({ name: 'nereid', version: '1.2.3' });
    const ready = async (name: string, version = '') =>
      (await client.ask(modelReady, { name, version })).ready;
    expect(await ready('mini')).toBe(true);
    expect(await ready('mini', '1')).toBe(true);
    expect(await ready('mini', '2')).toBe(false);
    // Its first request loads it, and clients send none to what is not ready.
    expect(await ready('lazy')).toBe(true);
    expect(await ready('drained')).toBe(false);
    expect(await ready('nope')).toBe(false);
    await expect(ready('mini', 'abc')).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  });

  it('tells the tensors of a version', async () => {
    const tensor = { name: 'x', dataType: 'FP32' as const, shape: [-1, 4] };
    const signature: ServingPort['signature'] = async () => ({
      ref: { name: 'mini', version: 3, space: '', dimension: 0 },
      inputs: [tensor],
      outputs: [],
    });
    const client = await start({ serving: fakeServing({ signature }) });
    expect(await client.ask(modelMetadata, { name: 'mini' })).toMatchObject({
      name: 'mini',
      versions: ['1', '3'],
      platform: 'onnxruntime_onnx',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1n, 4n] }],
    });
  });
});

describe('the repository', () => {
  const admin = () =>
    fakeAdmin({
      list: () => [
        report(),
        report({ version: 2, state: 'failed', reason: 'torn file' }),
        report({ version: 3, state: 'unloaded', served: false }),
        report({ name: 'lazy', state: 'unloaded', reason: 'waits for its first request' }),
        report({ name: 'never', state: 'unloaded', served: false }),
      ],
    });

  it('lists states in the words of the protocol', async () => {
    const client = await start({ admin: admin() });
    const listed = async (ready: boolean) =>
      (await client.ask(repositoryIndex, { ready })).models.map(({ name, version, state, reason }) => [
        name,
        version,
        state,
        reason,
      ]);
    expect(await listed(false)).toEqual([
      ['mini', '1', 'READY', ''],
      ['mini', '2', 'UNAVAILABLE', 'torn file'],
      ['lazy', '1', 'UNAVAILABLE', 'unloaded'],
      ['never', '', '', ''],
    ]);
    expect(await listed(true)).toEqual([['mini', '1', 'READY', '']]);
    await expect(client.ask(repositoryIndex, { repositoryName: 'other' })).rejects.toMatchObject({
      code: status.UNIMPLEMENTED,
    });
  });

  it('loads with config and files, and unloads', async () => {
    const known = admin();
    const client = await start({ admin: known });
    const parameters = {
      config: { parameterChoice: { case: 'stringParam' as const, value: '{"max_batch_size": 8}' } },
      'file:1/model.onnx': { parameterChoice: { case: 'bytesParam' as const, value: new Uint8Array([1]) } },
    };
    await client.ask(repositoryModelLoad, { modelName: 'mini', parameters });
    const dependents = {
      unload_dependents: { parameterChoice: { case: 'boolParam' as const, value: true } },
    };
    await client.ask(repositoryModelUnload, { modelName: 'mini', parameters: dependents });
    expect(known.asked).toEqual([
      [
        'load',
        'mini',
        { config: '{"max_batch_size": 8}', files: new Map([['1/model.onnx', Buffer.from([1])]]) },
      ],
      ['unload', 'mini'],
    ]);
    const fileOnly = { 'file:1/model.onnx': parameters['file:1/model.onnx'] };
    await expect(
      client.ask(repositoryModelLoad, { modelName: 'mini', parameters: fileOnly }),
    ).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(/no config/),
    });
    const odd = { parameters: { confg: parameters.config } };
    await expect(client.ask(repositoryModelLoad, { modelName: 'mini', ...odd })).rejects.toMatchObject({
      details: expect.stringMatching(/'confg'/),
    });
  });

  it.each(['repositoryModelLoad', 'repositoryModelUnload'] as const)(
    '%s is for explicit control only',
    async (name) => {
      const known = admin();
      const client = await start({ admin: known, explicitControl: false });
      await expect(change(client, name)).rejects.toMatchObject({
        code: status.UNAVAILABLE,
        details: 'explicit model load / unload is not allowed if polling is enabled',
      });
      expect(known.asked).toEqual([]);
    },
  );

  it.each([
    ['MODEL_LOAD_FAILED', status.INTERNAL, "failed to load 'mini', why"],
    ['MODEL_NOT_FOUND', status.INTERNAL, "failed to load 'mini', failed to poll from model repository"],
    ['MEMORY_BUDGET_EXCEEDED', status.UNAVAILABLE, 'why'],
  ] as const)('tells that a load failed: %s', async (reason, code, details) => {
    const load = () => Promise.reject(new ServingError(reason, 'why'));
    const client = await start({ admin: fakeAdmin({ load }) });
    await expect(client.ask(repositoryModelLoad, { modelName: 'mini' })).rejects.toMatchObject({
      code,
      details,
    });
  });
});
