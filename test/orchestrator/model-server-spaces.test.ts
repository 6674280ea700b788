import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ModelServer, ModelServerOptions } from '../../orchestrator/adapters/model-server.ts';
import { openModelServer } from '../../orchestrator/adapters/model-server.ts';
import { RagError } from '../../orchestrator/errors.ts';
import type { FakeModelServer, FakeVersion } from './fake-model-server.ts';
import { fakeVersion, startFakeModelServer } from './fake-model-server.ts';

const clients: ModelServer[] = [];
let server: FakeModelServer;
/** Version 1, which version 2 answers instead of where no space is asked for. */
let older: FakeVersion;

function open(options: Partial<ModelServerOptions> = {}) {
  const { address } = server;
  const client = openModelServer({ address, embedModel: '', rerankModel: '', connections: 2, ...options });
  clients.push(client);
  return client.embedder;
}

const methods = () => server.calls.map(({ method }) => method);
const inOlder = { space: 'space-1' };

async function failure(work: Promise<unknown>): Promise<RagError> {
  const error = await work.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(RagError);
  return error as RagError;
}

beforeEach(async () => {
  server = await startFakeModelServer();
  older = fakeVersion(1);
  Object.assign(server.model, fakeVersion(2), { others: [older] });
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.destroy()));
  server.kill();
});

test('each space has the vectors of its own version', async () => {
  const embedder = open();
  expect((await embedder.embed(['abc'], inOlder)).vectors).toEqual([new Float32Array([3, 1, 0.5])]);
  expect((await embedder.embed(['abc'], { space: 'space-2' })).vectors).toEqual([
    new Float32Array([3, 2, 0.5]),
  ]);
});

test('once a space is known, its texts cost one call', async () => {
  const embedder = open();
  await embedder.embed(['a'], inOlder);
  await embedder.embed(['a'], { space: 'space-2' });
  server.calls.length = 0;
  await embedder.embed(['b'], inOlder);
  await embedder.embed(['b'], { space: 'space-2' });
  await embedder.countTokens(['b'], inOlder);
  expect(methods()).toEqual(['Embed', 'Embed', 'Tokenize']);
});

test('many first questions for a space are one', async () => {
  const embedder = open();
  await Promise.all(Array.from({ length: 10 }, () => embedder.embed(['a'], inOlder)));
  expect(methods().filter((method) => method === 'ListModels')).toHaveLength(1);
});

test('a space that a new collection has just taken needs no further question', async () => {
  const embedder = open();
  const { space } = await embedder.describe();
  server.calls.length = 0;
  await embedder.embed(['a'], { space });
  expect(methods()).toEqual(['Embed']);
});

test('tokens are counted as the version of the space counts them', async () => {
  older.tokens = (text) => text.length;
  const embedder = open({ callLimits: { count: 1, bytes: 100 } });
  expect(await embedder.countTokens(['ab cd', 'ef'], inOlder)).toEqual([5, 2]);
  expect(await embedder.countTokens(['ab cd', 'ef'], { space: 'space-2' })).toEqual([2, 1]);
});

test('a space that moves to another version is found there', async () => {
  const embedder = open();
  await embedder.embed(['a'], inOlder);
  await embedder.countTokens(['a'], inOlder);
  older.version = 3;
  expect(await embedder.countTokens(['a b'], inOlder)).toEqual([2]);
  expect((await embedder.describe(inOlder)).version).toBe(3);
  older.name = 'mini-copy';
  expect((await embedder.embed(['a'], inOlder)).model).toBe('mini-copy');
});

test('a version that now has another space counts no tokens for the old one', async () => {
  const embedder = open();
  await embedder.countTokens(['a'], inOlder);
  older.space = 'space-3';
  const error = await failure(embedder.countTokens(['a'], inOlder));
  expect(error.reason).toBe('SPACE_MISMATCH');
  expect(error.message).toMatch(
    /nothing of the vector space space-1; it has .*mini version 1 \(space space-3\)/,
  );
});

test('another model that has the space is as good, but the chosen one comes first', async () => {
  server.model.others = [fakeVersion(1, { name: 'copy' }), older];
  expect((await open({ embedModel: 'mini' }).describe(inOlder)).model).toBe('mini');
  server.model.others = [fakeVersion(1, { name: 'copy' })];
  expect((await open({ embedModel: 'mini' }).embed(['a'], inOlder)).model).toBe('copy');
});

test('what makes no vectors is of no space', async () => {
  server.model.others.push(fakeVersion(1, { name: 'cross', space: '', dimension: 0, tasks: ['rerank'] }));
  const error = await failure(open().embed(['a'], { space: '' }));
  expect(error.reason).toBe('SPACE_MISMATCH');
  expect(error.message).toMatch(/space \(none\); it has mini version 2/);
  expect(error.message).not.toContain('cross');
});

test('a version that has failed does not count', async () => {
  older.state = 'failed';
  expect((await failure(open().embed(['a'], inOlder))).reason).toBe('SPACE_MISMATCH');
  server.model.others.push(fakeVersion(3, { space: 'space-1' }));
  expect((await open().describe(inOlder)).version).toBe(3);
});

test.each([
  ['a version is loading', () => Object.assign(older, { state: 'loading', space: 'space-3' })],
  [
    'the files of a version have not been read',
    () => Object.assign(older, { space: '', dimension: 0, tasks: [] }),
  ],
  [
    'nothing makes vectors yet',
    () => {
      server.model.others = [];
      Object.assign(server.model, { space: '', dimension: 0 });
    },
  ],
])('while %s, a space may still come: try again', async (_what, change) => {
  change();
  const error = await failure(open().describe(inOlder));
  expect(error.reason).toBe('MODEL_SERVER_UNAVAILABLE');
  expect(error.retryable).toBe(true);
  expect(error.message).toContain('still loading');
});

test('a version that is just being loaded is waited for', async () => {
  older.state = 'loading';
  expect((await open().embed(['a'], inOlder)).version).toBe(1);
});

test('a version that goes between two questions is refused', async () => {
  server.model.before = (method) => {
    if (method === 'Tokenize') server.model.others = [];
  };
  const error = await failure(open().describe(inOlder));
  expect(error.reason).toBe('SPACE_MISMATCH');
});

test('a refusal is not remembered', async () => {
  const embedder = open();
  server.model.others = [];
  expect((await failure(embedder.embed(['a'], inOlder))).reason).toBe('SPACE_MISMATCH');
  server.model.others = [older];
  expect((await embedder.embed(['a'], inOlder)).space).toBe('space-1');
});

test('texts whose version goes after the first call are refused, all of them', async () => {
  const embedder = open({ callLimits: { count: 1, bytes: 100 } });
  server.model.before = () => {
    if (methods().filter((method) => method === 'Embed').length === 3) server.model.others = [];
  };
  const error = await failure(embedder.embed(['a', 'bb', 'ccc', 'dddd', 'eeeee'], inOlder));
  expect(error.reason).toBe('SPACE_MISMATCH');
  expect(error.message).toContain('mini version 2 (space space-2)');
});

test('a reply in another space than the one asked for is refused', async () => {
  const embedder = open();
  older.vector = () => {
    older.space = 'space-9';
    return [1, 1, 1];
  };
  expect((await failure(embedder.embed(['a'], inOlder))).reason).toBe('SPACE_MISMATCH');
});

test('a vector of another length than its version has is refused', async () => {
  older.vector = () => [1, 1, 1, 1];
  const error = await failure(open().embed(['a'], inOlder));
  expect(error.reason).toBe('MODEL_SERVER_REFUSED');
  expect(error.message).toContain('16 bytes');
});

test('a server that is away is no other space', async () => {
  const embedder = open();
  await embedder.embed(['a'], inOlder);
  server.kill();
  expect((await failure(embedder.embed(['a'], inOlder))).reason).toBe('MODEL_SERVER_UNAVAILABLE');
  expect((await failure(open().embed(['a'], inOlder))).reason).toBe('MODEL_SERVER_UNAVAILABLE');
});

test('a caller who has gone already leaves no question behind that fails unheard', async () => {
  server.model.before = () => {
    throw { code: 14, details: 'away' };
  };
  const error = await failure(open().embed(['a'], { ...inOlder, signal: AbortSignal.abort() }));
  expect(error.reason).toBe('CANCELLED');
});
