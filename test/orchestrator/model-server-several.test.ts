import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ModelServer, ModelServerOptions } from '../../orchestrator/adapters/model-server.ts';
import { openModelServer } from '../../orchestrator/adapters/model-server.ts';
import type { FakeModelServer } from './fake-model-server.ts';
import { crossEncoder, fakeVersion, startFakeModelServer } from './fake-model-server.ts';

const clients: ModelServer[] = [];
let server: FakeModelServer;
const other = fakeVersion(1, { name: 'other', space: 'other-space', dimension: 4 });

function open(options: Partial<ModelServerOptions> = {}): ModelServer {
  const { address } = server;
  const client = openModelServer({ address, embedModel: '', rerankModel: '', connections: 2, ...options });
  clients.push(client);
  return client;
}

const methods = () => server.calls.map(({ method }) => method);
const reranks = () =>
  server.calls.flatMap(({ method, model, version }) => (method === 'Rerank' ? [{ model, version }] : []));

/** `mini` version 1 has space-1; whatever else is served stands beside it. */
beforeEach(async () => {
  server = await startFakeModelServer();
  server.model.others = [other];
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.destroy()));
  server.kill();
});

describe('of two embedders, a new collection', () => {
  test('takes the one whose space the collections have', async () => {
    const { embedder } = open();
    for (const [space, model] of [
      ['space-1', 'mini'],
      ['other-space', 'other'],
    ] as const)
      expect(await embedder.describe({ spacesInUse: [space] })).toMatchObject({ model, space });
  });

  test('takes the version of it that answers now, also when the collections have spaces of several', async () => {
    Object.assign(server.model, fakeVersion(2), { others: [fakeVersion(1), other] });
    const { embedder } = open();
    for (const spacesInUse of [['space-1'], ['space-1', 'space-2']])
      expect(await embedder.describe({ spacesInUse })).toMatchObject({ model: 'mini', space: 'space-2' });
  });

  test.each([
    ['there is no collection', []],
    ['collections of both', ['space-1', 'other-space']],
    ['a collection of none', ['gone-space']],
    ['one of a model that is there and one of none', ['space-1', 'gone-space']],
  ])('is refused with their names and what to set when there is %s', async (_what, spacesInUse) => {
    await expect(open().embedder.describe({ spacesInUse })).rejects.toMatchObject({
      reason: 'MODEL_SERVER_REFUSED',
      message: expect.stringMatching(/several models.*: mini, other\. .*--embed-model\./),
    });
  });

  test('waits for a model that is still coming', async () => {
    server.model.others.push(fakeVersion(1, { name: 'late', state: 'loading', space: '', dimension: 0 }));
    const spacesInUse = ['space-1', 'late-space'];
    await expect(open().embedder.describe({ spacesInUse })).rejects.toMatchObject({ retryable: true });
  });

  test('takes the one that is set, whatever the collections have', async () => {
    const { embedder } = open({ embedModel: 'other' });
    for (const spacesInUse of [[], ['space-1']])
      expect((await embedder.describe({ spacesInUse })).model).toBe('other');
  });

  test.each([
    ['has failed', { state: 'failed' }],
    ['makes no vectors', { tasks: ['infer'], space: '', dimension: 0 }],
  ])('takes the first where the second %s', async (_what, change) => {
    server.model.others = [{ ...other, ...change }];
    expect((await open().embedder.describe()).model).toBe('mini');
  });
});

test('what is known of a space does not outlive the list of models', async () => {
  const { embedder } = open();
  const { space } = await embedder.describe({ space: 'other-space' });
  server.model.others = [];
  await embedder.describe();
  await expect(embedder.describe({ space })).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
});

describe('passages are scored', () => {
  const rerank = (client: ModelServer, space?: string) => client.reranker.rerank('a', ['a', 'b'], { space });

  test('by the model of their space', async () => {
    const client = open();
    expect(await rerank(client, 'space-1')).toMatchObject({ kind: 'late_interaction', model: 'mini' });
    expect(await rerank(client, 'other-space')).toMatchObject({ kind: 'late_interaction', model: 'other' });
    expect(reranks()).toEqual([
      { model: 'mini', version: 0 },
      { model: 'other', version: 0 },
    ]);
  });

  test('by the version of their space where its model has others', async () => {
    Object.assign(server.model, fakeVersion(2), { others: [fakeVersion(1), other] });
    await rerank(open(), 'space-1');
    expect(reranks()).toEqual([{ model: 'mini', version: 1 }]);
  });

  test('by the only cross-encoder, whatever their space is', async () => {
    server.model.others.push(crossEncoder('cross'));
    const client = open();
    for (const space of ['space-1', 'other-space', 'gone-space', undefined])
      expect(await rerank(client, space)).toMatchObject({ kind: 'cross_encoder', model: 'cross' });
  });

  test('by the model of their space where there are several cross-encoders', async () => {
    server.model.others.push(crossEncoder('cross'), crossEncoder('judge'));
    expect((await rerank(open(), 'other-space')).model).toBe('other');
  });

  test('by the model that is set, with no question about others', async () => {
    server.model.others.push(crossEncoder('cross'));
    expect((await rerank(open({ rerankModel: 'mini' }), 'other-space')).model).toBe('mini');
    expect(methods()).toEqual(['Rerank']);
  });

  test.each([
    ['nothing of their space is served', 'gone-space', {}],
    ['the model of their space has no state for every token', 'other-space', { tasks: ['embed', 'infer'] }],
  ])('by the only one that can where %s', async (_what, space, change) => {
    server.model.others = Object.keys(change).length > 0 ? [{ ...other, ...change }] : [];
    expect((await rerank(open(), space)).model).toBe('mini');
  });

  test('by nobody where several could, which is told with what to set', async () => {
    await expect(rerank(open(), 'gone-space')).rejects.toMatchObject({
      reason: 'MODEL_SERVER_REFUSED',
      message: expect.stringMatching(/several models.*rerank: mini, other\. .*--rerank-model\./),
    });
    expect(reranks()).toEqual([]);
  });

  test('in one call, once the models are known', async () => {
    const client = open({ relistMs: 60_000 });
    await client.embedder.embed(['a'], { space: 'space-1' });
    server.calls.length = 0;
    await rerank(client, 'space-1');
    await rerank(client, 'other-space');
    expect(methods()).toEqual(['Rerank', 'Rerank']);
  });

  test('by what is there instead when the model has gone', async () => {
    server.model.others.push(crossEncoder('cross'));
    const client = open();
    await rerank(client, 'other-space');
    server.model.others.pop();
    expect((await rerank(client, 'other-space')).model).toBe('other');
    server.model.others = [];
    expect((await rerank(client, 'other-space')).model).toBe('mini');
  });

  test('by a cross-encoder that has come, as soon as the list is fetched anew, which nobody waits for', async () => {
    const client = open({ relistMs: 0 });
    await rerank(client, 'space-1');
    server.model.others.push(crossEncoder('cross'));
    const [listing, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    server.model.before = (method) => {
      if (method !== 'ListModels') return;
      listing.resolve();
      return release.promise;
    };
    expect((await rerank(client, 'space-1')).model).toBe('mini');
    expect((await rerank(client, 'space-1')).model).toBe('mini');
    await listing.promise;
    expect(methods().filter((method) => method === 'ListModels')).toHaveLength(2);
    release.resolve();
    await vi.waitFor(async () => expect((await rerank(client, 'space-1')).model).toBe('cross'));
  });

  test('also while the list of models fails', async () => {
    const client = open({ relistMs: 0 });
    await rerank(client, 'space-1');
    const listed = Promise.withResolvers<void>();
    server.model.before = (method) => {
      if (method !== 'ListModels') return;
      listed.resolve();
      throw { code: 14, details: 'away' };
    };
    expect((await rerank(client, 'space-1')).model).toBe('mini');
    await listed.promise;
    expect((await rerank(client, 'space-1')).model).toBe('mini');
  });
});
