import { createServer } from 'node:net';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ModelServer, ModelServerOptions } from '../../orchestrator/adapters/model-server.ts';
import { openModelServer } from '../../orchestrator/adapters/model-server.ts';
import { RagError } from '../../orchestrator/errors.ts';
import type { FakeModelServer } from './fake-model-server.ts';
import { startFakeModelServer } from './fake-model-server.ts';

let server: FakeModelServer;
const clients: ModelServer[] = [];

function open(options: Partial<ModelServerOptions> = {}): ModelServer {
  const client = openModelServer({
    address: server.address,
    embedModel: '',
    rerankModel: '',
    connections: 2,
    ...options,
  });
  clients.push(client);
  return client;
}

async function failure(work: Promise<unknown>): Promise<RagError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(RagError);
  return error as RagError;
}

beforeEach(async () => {
  server = await startFakeModelServer();
});

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.destroy()));
  server.kill();
});

test('vectors come in the order of the texts, with the model that made them', async () => {
  const result = await open().embedder.embed(['a', '', 'ccc']);
  expect(result.vectors).toEqual([
    new Float32Array([1, 1, 0.5]),
    new Float32Array([0, 1, 0.5]),
    new Float32Array([3, 1, 0.5]),
  ]);
  expect(result).toMatchObject({
    model: 'mini',
    version: 1,
    space: 'space-1',
    dimension: 3,
    maxTokens: 256,
    specialTokens: 2,
  });
  expect(result.truncated).toEqual([false, false, false]);
});

test('big inputs are split by count and by bytes, and put together again in order', async () => {
  const { embedder } = open({ callLimits: { count: 4, bytes: 30 } });
  const texts = ['x'.repeat(29), 'b', 'c', 'd', 'e', 'f', 'g'.repeat(100), 'ü'.repeat(14), 'ii'];
  const { vectors } = await embedder.embed(texts);
  expect(vectors.map(([length]) => length)).toEqual(texts.map((text) => text.length));
  const sizes = server.calls
    .filter(({ method }) => method === 'Embed')
    .map(({ inputs }) => inputs.map((text) => text.length));
  expect(sizes.toSorted()).toEqual([[29, 1], [1, 1, 1, 1], [100], [14, 2]].toSorted());
});

test('no texts need no embedding', async () => {
  expect((await open().embedder.embed([])).vectors).toEqual([]);
  expect(server.calls.map(({ method }) => method)).not.toContain('Embed');
});

test('tokens are counted for each text', async () => {
  expect(
    await open({ callLimits: { count: 2, bytes: 100 } }).embedder.countTokens(['a b', '', 'a b c']),
  ).toEqual([2, 0, 3]);
});

test('the model is asked for once', async () => {
  const { embedder } = open();
  await Promise.all([embedder.describe(), embedder.describe(), embedder.embed(['a'])]);
  expect(server.calls.filter(({ method }) => method === 'ListModels')).toHaveLength(1);
});

test('a model that is swapped between two calls answers wholly in its new space', async () => {
  const { embedder } = open({ callLimits: { count: 1, bytes: 100 } });
  await embedder.embed(['a']);
  server.model.before = (method) => {
    if (method === 'Embed' && server.calls.filter((call) => call.method === 'Embed').length === 3)
      server.model.space = 'space-2';
  };
  const { space, vectors } = await embedder.embed(['a', 'bb', 'ccc', 'dddd']);
  expect(space).toBe('space-2');
  expect(vectors.map(([length]) => length)).toEqual([1, 2, 3, 4]);
  expect((await embedder.describe()).space).toBe('space-2');
});

test('passages are scored in the order given, over several calls', async () => {
  const { reranker } = open({ callLimits: { count: 2, bytes: 1_000 } });
  const result = await reranker.rerank('cat', ['a dog', 'a cat', 'cats', 'a cow', 'cat']);
  expect(result.kind).toBe('late_interaction');
  expect(result.model).toBe('mini');
  expect(result.scores.map(({ score }) => score > 0.5)).toEqual([false, true, true, false, true]);
});

test('an absent server is named, with what to do', async () => {
  server.kill();
  const error = await failure(open().embedder.describe());
  expect(error.reason).toBe('MODEL_SERVER_UNAVAILABLE');
  expect(error.message).toContain(server.address);
  expect(error.message).toContain('nereid serve');
  expect(error.message).toMatch(/ECONNREFUSED [\d.:]+\. If/);
});

test('a server that restarts in the middle fails the running call and serves the next', async () => {
  const client = open();
  const reached = Promise.withResolvers<void>();
  await client.embedder.describe();
  server.model.before = () => {
    reached.resolve();
    return new Promise<void>(() => undefined);
  };
  const running = failure(client.embedder.embed(['a']));
  await reached.promise;
  server.kill();
  expect((await running).reason).toBe('MODEL_SERVER_UNAVAILABLE');
  expect((await failure(client.embedder.describe())).reason).toBe('MODEL_SERVER_UNAVAILABLE');
  server = await startFakeModelServer(server.port);
  server.model.space = 'space-after';
  await vi.waitFor(async () => expect((await client.embedder.embed(['a'])).space).toBe('space-after'));
});

test.each([
  [8, 'QUEUE_FULL', 'no room'],
  [14, 'MODEL_SERVER_UNAVAILABLE', 'draining'],
  [4, 'DEADLINE_EXCEEDED', 'too late'],
  [3, 'MODEL_SERVER_REFUSED', 'text 3 is too long'],
  [13, 'MODEL_SERVER_REFUSED', 'batch failed'],
])('status %i is %s and keeps the words of the server', async (code, reason, details) => {
  const { embedder } = open();
  await embedder.describe();
  server.model.before = () => {
    throw { code, details };
  };
  const error = await failure(embedder.embed(['a']));
  expect(error.reason).toBe(reason);
  expect(error.message).toContain(details);
  expect(error.message).toContain(server.address);
});

test('after a failure the model is asked for again', async () => {
  const { embedder } = open();
  await embedder.describe();
  server.model.before = () => {
    throw { code: 14, details: 'away' };
  };
  await failure(embedder.embed(['a']));
  server.model.before = () => undefined;
  server.model.space = 'space-3';
  expect((await embedder.describe()).space).toBe('space-3');
});

test('a slow server is given up at the deadline, which it is told', async () => {
  const deadline = Promise.withResolvers<unknown>();
  server.model.before = (_method, call) => {
    deadline.resolve(call.getDeadline());
    return new Promise<void>(() => undefined);
  };
  const error = await failure(open({ callTimeoutMs: 50 }).embedder.describe());
  expect(error.reason).toBe('DEADLINE_EXCEEDED');
  expect(error.message).toContain('50 ms');
  expect(Number(await deadline.promise)).toBeLessThan(Date.now() + 60_000);
});

test('an abort ends the call on the server too', async () => {
  const { embedder } = open();
  await embedder.describe();
  const cancelled = Promise.withResolvers<void>();
  const stop = new AbortController();
  server.model.before = (_method, call) => {
    call.on('cancelled', () => cancelled.resolve());
    stop.abort();
    return new Promise<void>(() => undefined);
  };
  expect((await failure(embedder.embed(['a'], { signal: stop.signal }))).reason).toBe('CANCELLED');
  await cancelled.promise;
});

test("one caller's abort does not end another's question for the model", async () => {
  const { embedder } = open();
  const gate = Promise.withResolvers<void>();
  server.model.before = () => gate.promise;
  const stop = new AbortController();
  const first = failure(embedder.describe({ signal: stop.signal }));
  const second = embedder.describe();
  stop.abort();
  expect((await first).reason).toBe('CANCELLED');
  gate.resolve();
  expect((await second).space).toBe('space-1');
});

test('many calls share a few connections, and one too many is refused', async () => {
  const client = open({ connections: 2, callsPerConnection: 2, maxWaitingCalls: 1 });
  await client.embedder.describe();
  server.calls.length = 0;
  const gate = Promise.withResolvers<void>();
  server.model.before = () => gate.promise;
  const running = Array.from({ length: 5 }, () => client.embedder.embed(['a']));
  await vi.waitFor(() => expect(server.calls).toHaveLength(4));
  const error = await failure(client.embedder.countTokens(['a']));
  expect(error.reason).toBe('QUEUE_FULL');
  gate.resolve();
  await Promise.all(running);
  expect(new Set(server.calls.map(({ peer }) => peer)).size).toBe(2);
});

test('an abort while waiting for a place gives the place to the next', async () => {
  const client = open({ connections: 1, callsPerConnection: 1 });
  await client.embedder.describe();
  const gate = Promise.withResolvers<void>();
  server.model.before = () => gate.promise;
  const first = client.embedder.countTokens(['a']);
  const stop = new AbortController();
  const second = failure(client.embedder.countTokens(['a'], { signal: stop.signal }));
  const third = client.embedder.countTokens(['a b']);
  stop.abort();
  expect((await second).reason).toBe('CANCELLED');
  gate.resolve();
  expect([await first, await third]).toEqual([[1], [2]]);
});

test('a reply of the wrong shape is refused', async () => {
  const { embedder } = open();
  server.model.vector = () => [1, 2];
  const error = await failure(embedder.embed(['a']));
  expect(error.reason).toBe('MODEL_SERVER_REFUSED');
  expect(error.message).toContain('8 bytes');
});

test('what is no gRPC server is told apart from nothing', async () => {
  const deaf = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve));
  const { port } = deaf.address() as { port: number };
  const error = await failure(open({ address: `127.0.0.1:${port}` }).embedder.describe());
  expect(error.reason).toBe('MODEL_SERVER_UNAVAILABLE');
  expect(error.message).toContain(`127.0.0.1:${port}`);
  deaf.close();
});

test('destroy fails what runs and refuses what comes; both ends are idempotent', async () => {
  const client = open();
  await client.embedder.describe();
  const reached = Promise.withResolvers<void>();
  server.model.before = () => {
    reached.resolve();
    return new Promise<void>(() => undefined);
  };
  const running = failure(client.embedder.embed(['a']));
  await reached.promise;
  await client.destroy();
  expect((await running).reason).toBe('STOPPING');
  expect((await failure(client.embedder.countTokens(['a']))).reason).toBe('STOPPING');
  await client.close();
  await client.destroy();
});

test('close lets a running call finish', async () => {
  const client = open();
  await client.embedder.describe();
  const gate = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  server.model.before = () => {
    reached.resolve();
    return gate.promise;
  };
  const running = client.embedder.countTokens(['a b c']);
  await reached.promise;
  const closed = client.close();
  gate.resolve();
  expect(await running).toEqual([3]);
  await closed;
});
