import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serverConfigSchema } from '../../model-server/config.ts';
import { type RunningServer, run } from '../../model-server/main.ts';
import { AdminService } from '../../proto/gen/admin_pb.js';
import { GRPCInferenceService } from '../../proto/gen/inference_pb.js';
import { EmbedService, RerankService, ScoreKind } from '../../proto/gen/serving_pb.js';
import { postAdmin } from './fake-models.ts';
import { TestClient } from './grpc-client.ts';
import { tensorModel, writeTensorModel, writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const { modelInfer, modelMetadata, modelReady, repositoryIndex, repositoryModelLoad, repositoryModelUnload } =
  GRPCInferenceService.method;

let server: RunningServer;
let client: TestClient;
const folder = temporaryFolder();
beforeAll(async () => {
  writeTensorModel(folder.path, 'raw');
  const text = writeTextModel(folder.path, 'text', { version: 1 });
  writeTextModel(folder.path, 'text', { version: 2, noise: 0.01 });
  writeFileSync(join(text, 'config.pbtxt'), 'version_policy { all {} }\nmax_batch_size: 8\n');
  const free = { grpcPort: 0, httpPort: 0, metricsPort: 0, logLevel: 'silent', instances: 1 };
  const config = { ...free, modelRepository: folder.path, modelControlMode: 'explicit', loadModel: '*' };
  server = await run(serverConfigSchema.parse(config));
  client = new TestClient(server.grpcPort);
});
afterAll(async () => {
  client.close();
  await server.close();
  folder.remove();
});

const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const floats = (bytes: Uint8Array) => [...new Float32Array(new Uint8Array(bytes).buffer)];
const x = { name: 'x', datatype: 'FP32', shape: [1n, 4n], contents: { fp32Contents: [1, 2, 3, 4] } };
const n = { name: 'n', datatype: 'INT64', shape: [1n, 4n], contents: { int64Contents: [1n, -2n, 3n, 4n] } };
const letters = ['a', '', 'long word', 'é'].map((text) => new TextEncoder().encode(text));
const s = { name: 's', datatype: 'BYTES', shape: [1n, 4n], contents: { bytesContents: letters } };
const infer = (request: object = {}) =>
  client.ask(modelInfer, { modelName: 'raw', inputs: [x, n, s], ...request });

describe('raw tensors through a real session', () => {
  it('typed and raw give the same', async () => {
    const typed = await infer({ outputs: [{ name: 's_same' }, { name: 'y' }] });
    expect(typed.outputs.map(({ name, datatype, shape }) => [name, datatype, shape])).toEqual([
      ['s_same', 'BYTES', [1n, 4n]],
      ['y', 'FP32', [1n, 4n]],
    ]);
    expect(floats(typed.rawOutputContents[1]!)).toEqual([2, 3, 4, 5]);
    const bare = [x, n, s].map(({ contents: _, ...input }) => input);
    const raw = await infer({
      inputs: bare,
      rawInputContents: [
        bytesOf(new Float32Array([1, 2, 3, 4])),
        bytesOf(new BigInt64Array([1n, -2n, 3n, 4n])),
        typed.rawOutputContents[0]!,
      ],
    });
    expect(raw.outputs.map(({ name }) => name).sort()).toEqual(['n_same', 's_same', 'y']);
    const of = (name: string) =>
      raw.rawOutputContents[raw.outputs.findIndex((output) => output.name === name)]!;
    expect(floats(of('y'))).toEqual([2, 3, 4, 5]);
    expect([...of('n_same')]).toEqual([...bytesOf(new BigInt64Array([1n, -2n, 3n, 4n]))]);
    expect([...of('s_same')]).toEqual([...typed.rawOutputContents[0]!]);
  });

  const wide = { ...x, shape: [1n, 3n], contents: { fp32Contents: [1, 2, 3] } };
  const wrongType = { ...x, datatype: 'FP64', contents: { fp64Contents: [1, 2, 3, 4] } };
  it.each([
    ['another shape', { inputs: [wide, n, s] }, /x/],
    ['another type', { inputs: [wrongType, n, s] }, /x/],
    ['a missing input', { inputs: [x, n] }, /\bs\b/],
    ['an input too many', { inputs: [x, n, s, { ...n, name: 'extra' }] }, /extra/],
    ['an unknown output', { outputs: [{ name: 'nope' }] }, /nope/],
  ])('refuses %s naming the tensor', async (_, request, details) => {
    await expect(infer(request)).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(details),
    });
  });

  it.each([
    [{ modelName: 'nope' }, status.NOT_FOUND, "Request for unknown model: 'nope' is not found"],
    [{ modelVersion: '9' }, status.NOT_FOUND, "Request for unknown model: 'raw' version 9 is not found"],
    [{ modelVersion: 'abc' }, status.INVALID_ARGUMENT, /version string 'abc'/],
  ])('refuses %j in the words that clients know', async (request, code, details) => {
    await expect(infer(request)).rejects.toMatchObject({
      code,
      details: typeof details === 'string' ? details : expect.stringMatching(details),
    });
  });

  it('a text encoder takes and tells its tensors too', async () => {
    const metadata = await client.ask(modelMetadata, { name: 'text', version: '1' });
    expect(metadata).toMatchObject({ name: 'text', platform: 'onnxruntime_onnx', versions: ['1', '2'] });
    expect(metadata.inputs.map(({ name, datatype }) => [name, datatype])).toEqual([
      ['input_ids', 'INT64'],
      ['attention_mask', 'INT64'],
    ]);
    const row = (name: string, values: bigint[]) => ({
      name,
      datatype: 'INT64',
      shape: [1n, 3n],
      contents: { int64Contents: values },
    });
    const reply = await client.ask(modelInfer, {
      modelName: 'text',
      modelVersion: '2',
      inputs: [row('input_ids', [2n, 7n, 3n]), row('attention_mask', [1n, 1n, 1n])],
    });
    expect(reply.modelVersion).toBe('2');
    expect(reply.outputs[0]).toMatchObject({ name: 'last_hidden_state', shape: [1n, 3n, 8n] });
  });
});

describe('the repository by the Open Inference Protocol', () => {
  const states = async () =>
    Object.fromEntries(
      (await client.ask(repositoryIndex, {})).models.map((model) => [
        `${model.name}/${model.version}`,
        [model.state, model.reason],
      ]),
    );

  it('unloads, loads again, and loads with files of its own', async () => {
    expect(await states()).toEqual({
      'raw/1': ['READY', ''],
      'text/1': ['READY', ''],
      'text/2': ['READY', ''],
    });
    await client.ask(repositoryModelUnload, { modelName: 'raw' });
    expect((await states())['raw/1']).toEqual(['UNAVAILABLE', 'unloaded']);
    expect((await client.ask(modelReady, { name: 'raw' })).ready).toBe(false);
    await expect(infer()).rejects.toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringMatching(/'raw' is not at ready state/),
    });
    await client.ask(repositoryModelLoad, { modelName: 'raw' });
    expect((await client.ask(modelReady, { name: 'raw', version: '1' })).ready).toBe(true);
    const parameters = {
      config: { parameterChoice: { case: 'stringParam' as const, value: '{"max_batch_size": 4}' } },
      'file:1/model.onnx': {
        parameterChoice: { case: 'bytesParam' as const, value: tensorModel({ bias: 10 }) },
      },
    };
    await client.ask(repositoryModelLoad, { modelName: 'raw', parameters });
    expect(floats((await infer({ outputs: [{ name: 'y' }] })).rawOutputContents[0]!)).toEqual([
      11, 12, 13, 14,
    ]);
    await expect(client.ask(repositoryModelLoad, { modelName: 'nope' })).rejects.toMatchObject({
      code: status.INTERNAL,
      details: "failed to load 'nope', failed to poll from model repository",
    });
  });
});

describe('administration over HTTP, felt by gRPC', () => {
  const post = (method: string, body: object) => postAdmin(server.httpPort, method, body);
  const versionOf = async (request: object, metadata: Record<string, string> = {}) =>
    (
      await client.ask(
        EmbedService.method.embed,
        { model: 'text', inputs: ['hello'], ...request },
        { metadata },
      )
    ).model!.version;

  it('an alias is followed, a named version wins, and spaces are not mixed unawares', async () => {
    const mixed = { model: 'text', alias: 'stable', weights: { 1: 50, 2: 50 } };
    const refused = await post('SetTraffic', mixed);
    expect(refused.body.message).toMatch(/space/);
    expect((await post('SetTraffic', { model: 'text', alias: 'next', weights: { 1: 100 } })).status).toBe(
      200,
    );
    expect(await versionOf({ alias: 'next' })).toBe(1);
    expect(await versionOf({ alias: 'next', version: 2 })).toBe(2);
    expect(await versionOf({})).toBe(2);
    const both = await post('SetTraffic', { ...mixed, mixedSpaces: true, makeDefault: true });
    expect(both.body.status).toMatchObject({ plan: { defaultAlias: 'stable', mixedSpaces: true } });
    const keys = Array.from({ length: 40 }, (_, index) => ({ 'nereid-sticky-key': `user ${index}` }));
    const first = await Promise.all(keys.map((key) => versionOf({}, key)));
    expect(new Set(first)).toEqual(new Set([1, 2]));
    expect(await Promise.all(keys.map((key) => versionOf({}, key)))).toEqual(first);
    await expect(versionOf({ alias: 'nope' })).rejects.toMatchObject({
      details: expect.stringMatching(/nope.*(next|stable)/),
    });
  });

  it('compares versions, shows the model, tells the memory', async () => {
    const compared = await post('Compare', { model: 'text', a: 1, b: 2 });
    expect(compared.body).toMatchObject({ a: 1, b: 2, verdict: 'near' });
    const shown = await post('ShowModel', { model: 'text', version: 1 });
    expect(shown.body.versions[0]).toMatchObject({
      info: { state: 'ready', selfCheck: { batchIdentical: true } },
    });
    expect((await post('GetMemory', {})).body.devices[0].holders.length).toBeGreaterThan(1);
    expect(await post('ShowModel', { model: 'nope' })).toMatchObject({
      status: 404,
      body: { code: 'not_found', reason: 'MODEL_NOT_FOUND' },
    });
  });

  it('the server can be drained and resumed', async () => {
    const ready = async () => (await fetch(`http://127.0.0.1:${server.httpPort}/readyz`)).status;
    const { serverReady } = GRPCInferenceService.method;
    await post('Drain', {});
    expect(await ready()).toBe(503);
    expect((await client.ask(serverReady, {})).ready).toBe(false);
    await client.ask(AdminService.method.drain, { resume: true });
    expect(await ready()).toBe(200);
  });

  it('a way of scoring that the model does not have is refused', async () => {
    const request = { model: 'text', query: 'a', documents: ['b'], kind: ScoreKind.CROSS_ENCODER };
    await expect(client.ask(RerankService.method.rerank, request)).rejects.toMatchObject({
      code: status.UNIMPLEMENTED,
      details: expect.stringMatching(
        /model text version \d scores by late_interaction, not by cross_encoder/,
      ),
    });
  });
});
