import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { openQdrant } from '../../orchestrator/adapters/qdrant.ts';
import { type FakeQdrant, type FakeQdrantOptions, startFakeQdrant } from './fake-qdrant.ts';
import { axis, chunk, dimension } from './stored-chunk.ts';
import { vectorStoreContract } from './vector-store.contract.ts';

const vectorTolerance = 1e-6;

vectorStoreContract(
  'Qdrant (fake server)',
  async () => {
    const fake = await startFakeQdrant();
    const store = await openQdrant({ url: fake.url });
    return { store, reopen: () => openQdrant({ url: fake.url }), cleanup: () => fake.close() };
  },
  { vectorTolerance },
);

const realUrl = process.env.QDRANT_URL;
if (realUrl) {
  const options = { url: realUrl, apiKey: process.env.QDRANT_API_KEY };
  vectorStoreContract(
    `Qdrant (${new URL(realUrl).host})`,
    async () => {
      const store = await openQdrant(options);
      return { store, reopen: () => openQdrant(options), cleanup: () => store.close() };
    },
    { vectorTolerance },
  );
} else {
  it.skip('skipped aloud: QDRANT_URL is not set, so the contract does not run on a real Qdrant server', () => {});
}

const info = { name: 'c', dimension, space: 'space-a' };
let fake: FakeQdrant;

async function open(options: FakeQdrantOptions = {}) {
  fake = await startFakeQdrant(options);
  return openQdrant({ url: fake.url, apiKey: options.apiKey, timeoutMs: 10_000 });
}

afterEach(() => fake?.close());

describe('Qdrant requests', () => {
  it('waits for every write, in requests of bounded size', async () => {
    const store = await open();
    await store.ensureCollection(info);
    await store.upsert(
      'c',
      Array.from({ length: 150 }, (_, ordinal) => chunk({ ordinal })),
    );
    await store.deleteDocument('c', 'doc');
    const writes = fake.requests.filter(({ path }) => /\/(points|points\/delete|index)(\?|$)/.test(path));
    expect(writes).toHaveLength(2 + 3 + 1);
    expect(writes.every(({ path }) => path.includes('wait=true'))).toBe(true);
    const sizes = writes.slice(2, 5).map(({ body }) => JSON.parse(body).points.length);
    expect(sizes).toEqual([64, 64, 22]);
  });

  it('reads more than one page', async () => {
    const store = await open();
    await store.ensureCollection(info);
    const count = 2_300;
    const chunks = Array.from({ length: count }, (_, ordinal) =>
      chunk({ ordinal, documentId: `d${ordinal % 2}` }),
    );
    await store.upsert('c', chunks);
    const revisions = await store.listRevisions('c');
    expect(revisions.map((one) => one.chunks)).toEqual([count / 2, count / 2]);
    expect((await store.vectorsByHash('c', 'd1', 'r1')).size).toBe(count / 2);
    expect(fake.requests.filter(({ path }) => path.includes('scroll')).length).toBe(3 + 5);
  });

  it('makes payload indexes that an interrupted creation left out', async () => {
    const store = await open();
    const indexes = () =>
      fake.requests
        .filter(({ path }) => path.includes('/index'))
        .map(({ body }) => JSON.parse(body).field_name);
    fake.failures.push({ status: 500, error: 'interrupted', path: '/index' });
    await expect(store.ensureCollection(info)).rejects.toMatchObject({ reason: 'STORE_UNAVAILABLE' });
    expect(indexes()).toEqual(['documentId']);
    await store.ensureCollection(info);
    await store.ensureCollection(info);
    expect(indexes()).toEqual(['documentId', 'documentId', 'revision']);
  });

  it('sees that another program made the collection anew in another space', async () => {
    const store = await open();
    const other = await openQdrant({ url: fake.url });
    await store.ensureCollection(info);
    await other.dropCollection('c');
    expect(await store.searchDense('c', axis(0), 1)).toEqual([]);
    await other.ensureCollection({ ...info, space: 'space-b' });
    expect(await store.getCollection('c')).toEqual({ ...info, space: 'space-b' });
    await expect(store.ensureCollection(info)).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
  });

  it('keeps a path in the URL, and prints nothing', async () => {
    const printed = [vi.spyOn(console, 'warn'), vi.spyOn(console, 'error'), vi.spyOn(console, 'log')];
    const store = await open({ prefix: '/proxy/qdrant', apiKey: 'secret-key' });
    await store.ensureCollection(info);
    expect(await store.listCollections()).toEqual([info]);
    expect(store.description).toContain('/proxy/qdrant');
    for (const spy of printed) expect(spy).not.toHaveBeenCalled();
  });
});

describe("Qdrant collections that aren't ours", () => {
  it('leaves them alone', async () => {
    const store = await open();
    fake.addForeign('theirs');
    fake.addForeign('a name we do not allow');
    expect(await store.listCollections()).toEqual([]);
    await expect(store.ensureCollection({ ...info, name: 'theirs' })).rejects.toMatchObject({
      reason: 'INVALID_INPUT',
      message: expect.stringContaining('not made by Nereid'),
    });
    await store.dropCollection('theirs');
    expect(fake.requests.every(({ method }) => method === 'GET')).toBe(true);
  });

  it('refuses a server that can not keep the space, and leaves nothing behind', async () => {
    const store = await open({ version: '1.15.4' });
    await expect(store.ensureCollection(info)).rejects.toMatchObject({
      reason: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/1\.15\.4.*1\.16/),
    });
    expect(await store.getCollection('c')).toBeUndefined();
  });
});

describe('Qdrant in trouble', () => {
  it('says where it looked when nothing listens there, without the key', async () => {
    const free = createServer().listen(0, '127.0.0.1');
    await once(free, 'listening');
    const address = free.address();
    const port = typeof address === 'object' ? address?.port : 0;
    free.close();
    await once(free, 'close');
    const store = await openQdrant({ url: `http://user:pass@127.0.0.1:${port}`, apiKey: 'secret-key' });
    const thrown = await store.ensureCollection(info).catch((one: unknown) => one);
    expect(thrown).toMatchObject({ reason: 'STORE_UNAVAILABLE' });
    expect(String(thrown)).toMatch(new RegExp(`127\\.0\\.0\\.1:${port} .*ECONNREFUSED.*--qdrant-url`));
    expect(`${thrown} ${store.description}`).not.toMatch(/secret-key|pass/);
  });

  it('gives up on a server that never answers', async () => {
    const mute = createServer(() => {}).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const address = mute.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const store = await openQdrant({ url: `http://127.0.0.1:${port}`, timeoutMs: 20 });
    await expect(store.getCollection('c')).rejects.toMatchObject({
      reason: 'STORE_UNAVAILABLE',
      message: expect.stringContaining('did not answer in time'),
    });
    mute.close();
  });

  it('names the key when it is refused', async () => {
    fake = await startFakeQdrant({ apiKey: 'right' });
    const store = await openQdrant({ url: fake.url, apiKey: 'wrong' });
    await expect(store.ensureCollection(info)).rejects.toMatchObject({
      reason: 'STORE_UNAVAILABLE',
      message: expect.stringContaining('QDRANT_API_KEY'),
    });
  });

  it("passes on the server's own words", async () => {
    const store = await open();
    await store.ensureCollection(info);
    fake.failures.push({ status: 507, error: 'no space left on device' });
    await expect(store.upsert('c', [chunk()])).rejects.toMatchObject({
      reason: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/507.*no space left/),
    });
    fake.failures.push({ status: 429, error: 'slow down', headers: { 'retry-after': '7' } });
    await expect(store.upsert('c', [chunk()])).rejects.toMatchObject({
      message: expect.stringContaining('7 s'),
    });
    await store.upsert('c', [chunk()]);
  });

  it.each(['', 'qdrant:6333', 'ftp://x', 'http://'])('refuses %j as a URL', async (url) => {
    await expect(openQdrant({ url })).rejects.toMatchObject({ reason: 'INVALID_INPUT' });
  });

  it.each([
    ['http://host', 'http://host:6333'],
    ['https://host:443/', 'https://host:443'],
    ['https://user:123@host/a/', 'https://host:6333/a'],
  ])('reads %s as %s', async (url, where) => {
    expect((await openQdrant({ url })).description).toBe(`Qdrant at ${where}`);
  });

  it('refuses calls after close', async () => {
    const store = await open();
    await store.close();
    await expect(store.getCollection('c')).rejects.toMatchObject({ reason: 'STOPPING' });
  });
});
