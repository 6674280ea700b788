import { status } from '@grpc/grpc-js';
import { afterEach, expect, it } from 'vitest';
import type { AdminPort, ServingPort } from '../../model-server/api/ports.ts';
import { ServingError } from '../../model-server/errors.ts';
import type { Target } from '../../model-server/models/target.ts';
import { AdminService } from '../../proto/gen/admin_pb.js';
import { GRPCInferenceService } from '../../proto/gen/inference_pb.js';
import { EmbedService, ModelService, RerankService } from '../../proto/gen/serving_pb.js';
import { type FakeServerOptions, fakeAdmin, fakeServing, startApi } from './fake-models.ts';
import { TestClient } from './grpc-client.ts';

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
const start = async (options: FakeServerOptions = {}) => {
  const api = await startApi(options);
  const client = new TestClient(api.grpcPort);
  closers.push(api.close, () => client.close());
  return { ...api, client };
};

it('answers like HTTP does', async () => {
  const admin = fakeAdmin();
  const { client } = await start({ admin });
  const list = await client.ask(AdminService.method.listModels, {});
  expect(list.models[0]!.memory).toMatchObject({ measuredBytes: 99_614_720n, keepAliveMs: -1n });
  const files = { '1/model.onnx': new Uint8Array([7]) };
  await client.ask(AdminService.method.loadModel, { model: 'mini', config: '{}', files });
  const { status: rollout } = await client.ask(AdminService.method.getRollout, { model: 'mini' });
  expect(rollout!.plan!.aliases.stable!.weights).toEqual({ 1: 90, 2: 10 });
  expect(admin.asked[1]).toEqual([
    'load',
    'mini',
    { config: '{}', files: new Map([['1/model.onnx', Buffer.from([7])]]) },
  ]);
});

it('asks for the key, here and for loads by the Open Inference Protocol, and not for the open list', async () => {
  const admin = fakeAdmin();
  const { client, logged } = await start({ admin, adminKey: 'open sesame' });
  const refused = { code: status.UNAUTHENTICATED, reason: 'UNAUTHENTICATED' };
  const load = { modelName: 'mini' };
  const wrong = { metadata: { authorization: 'Bearer nope' } };
  const right = { metadata: { authorization: 'Bearer open sesame' } };
  await expect(client.ask(AdminService.method.promote, { model: 'mini' })).rejects.toMatchObject(refused);
  await expect(client.ask(AdminService.method.promote, { model: 'mini' }, wrong)).rejects.toMatchObject(
    refused,
  );
  const { repositoryModelLoad, repositoryModelUnload } = GRPCInferenceService.method;
  await expect(client.ask(repositoryModelLoad, load)).rejects.toMatchObject(refused);
  await expect(client.ask(repositoryModelUnload, load)).rejects.toMatchObject(refused);
  expect(admin.asked).toEqual([]);
  await client.ask(AdminService.method.promote, { model: 'mini' }, right);
  await client.ask(GRPCInferenceService.method.repositoryModelLoad, load, right);
  expect(admin.asked).toEqual([
    ['promote', 'mini'],
    ['load', 'mini', undefined],
  ]);
  expect((await client.ask(ModelService.method.listModels, {})).models).toHaveLength(2);
  expect(JSON.stringify(logged)).not.toContain('sesame');
  expect(logged.filter(({ message }) => message === 'admin call')).toHaveLength(6);
});

it('a call that a proxy passed on is refused without a key', async () => {
  const { client } = await start();
  const forwarded = { metadata: { 'x-forwarded-for': '10.0.0.7' } };
  await expect(client.ask(AdminService.method.listModels, {}, forwarded)).rejects.toMatchObject({
    code: status.PERMISSION_DENIED,
    reason: 'FORBIDDEN',
  });
});

it('what fails without a reason is INTERNAL', async () => {
  const load: AdminPort['load'] = () => Promise.reject(new Error('surprise'));
  const { client } = await start({ admin: fakeAdmin({ load }) });
  await expect(client.ask(AdminService.method.loadModel, { model: 'mini' })).rejects.toMatchObject({
    code: status.INTERNAL,
    reason: 'INTERNAL',
  });
});

it('requests carry alias, space and a key that sticks, of a credential only a hash', async () => {
  const targets: Target[] = [];
  const ref = { name: 'mini', version: 2, space: 'ff', dimension: 1 };
  const timings = { queueUs: 0, tokenizeUs: 0, computeUs: 0, postUs: 0 };
  const embed: ServingPort['embed'] = async (target) => {
    targets.push(target);
    return { ref, vectors: [], texts: [], timings };
  };
  const rerank: ServingPort['rerank'] = async (target) => {
    targets.push(target);
    return { ref, kind: 'cross_encoder', results: [], timings };
  };
  const { client } = await start({ serving: fakeServing({ embed, rerank }) });
  const request = { model: 'mini', alias: 'stable', expectSpace: 'ff' };
  const asks = (metadata: Record<string, string>) =>
    client.ask(EmbedService.method.embed, request, { metadata });
  const reply = await asks({ 'nereid-sticky-key': 'user-7', 'x-api-key': 'k' });
  expect(reply).toMatchObject({ model: { name: 'mini', version: 2, space: 'ff' }, dimension: 1 });
  await asks({ 'x-api-key': 'a key' });
  await asks({ authorization: 'Bearer another' });
  await asks({});
  await client.ask(RerankService.method.rerank, { alias: 'next' });
  expect(targets[0]).toEqual({ ...request, version: 0, task: 'embed', stickyKey: 'user-7' });
  const keys = targets.map(({ stickyKey }) => stickyKey);
  expect(keys[1]).toMatch(/^[\w-]{43}$/);
  expect(keys[2]).toMatch(/^[\w-]{43}$/);
  expect(keys[1]).not.toBe(keys[2]);
  expect(keys.slice(3)).toEqual(['', '']);
  expect(targets[4]).toMatchObject({ alias: 'next', task: 'rerank', expectSpace: '' });
});

it('advice when to try again travels with the refusal', async () => {
  const embed: ServingPort['embed'] = () =>
    Promise.reject(new ServingError('MEMORY_BUDGET_EXCEEDED', 'no room', { retryAfterMs: 700 }));
  const { client } = await start({ serving: fakeServing({ embed }) });
  await expect(client.ask(EmbedService.method.embed, {})).rejects.toMatchObject({
    code: status.RESOURCE_EXHAUSTED,
    reason: 'MEMORY_BUDGET_EXCEEDED',
  });
});
