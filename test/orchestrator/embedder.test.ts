import { openModelServer } from '../../orchestrator/adapters/model-server.ts';
import { embedderContract } from './embedder.contract.ts';
import { FakeEmbedder } from './fake-embedder.ts';
import { fakeVersion, startFakeModelServer } from './fake-model-server.ts';

embedderContract('the model server', async () => {
  const server = await startFakeModelServer();
  const olderVersion = fakeVersion(1, { maxTokens: 128 });
  const currentVersion = fakeVersion(2, { dimension: 4, vector: (text) => [text.length, 0, 1, 2] });
  Object.assign(server.model, currentVersion, { others: [olderVersion] });
  const client = openModelServer({
    address: server.address,
    embedModel: '',
    rerankModel: '',
    connections: 2,
  });
  const older = {
    dimension: 3,
    maxTokens: 128,
    model: 'mini',
    space: 'space-1',
    specialTokens: 2,
    version: 1,
  };
  return {
    embedder: client.embedder,
    current: { dimension: 4, maxTokens: 256, model: 'mini', space: 'space-2', specialTokens: 2, version: 2 },
    older,
    withdraw: () => {
      server.model.others = [];
    },
    rollBack: () => {
      Object.assign(server.model, olderVersion, { others: [currentVersion] });
    },
    async close() {
      await client.destroy();
      server.kill();
    },
  };
});

embedderContract('the fake that other tests use', async () => {
  const embedder = new FakeEmbedder();
  const current = embedder.model;
  const older = { ...current, version: 0, space: 'older-space', maxTokens: 128 };
  embedder.others = [older];
  return {
    embedder,
    current,
    older,
    withdraw: () => {
      embedder.others = [];
    },
    rollBack: () => {
      embedder.model = older;
      embedder.others = [current];
    },
    close: async () => {},
  };
});
