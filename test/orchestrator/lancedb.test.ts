import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, QueryBase } from '@lancedb/lancedb';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { openLanceDb } from '../../orchestrator/adapters/lancedb.ts';
import { killWriter } from './killed-writer.ts';
import { axis, chunk, dimension } from './stored-chunk.ts';
import { vectorStoreContract } from './vector-store.contract.ts';

vectorStoreContract(
  'LanceDB',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'nereid-lancedb-'));
    let store = await openLanceDb({ folder });
    return {
      store,
      reopen: async () => {
        await store.close();
        store = await openLanceDb({ folder });
        return store;
      },
      cleanup: async () => {
        await store.close();
        await rm(folder, { recursive: true });
      },
    };
  },
  { vectorTolerance: 0 },
);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nereid-lancedb-'));
  return () => rm(folder, { recursive: true });
});

const info = { name: 'c', dimension, space: 'space-a' };

describe('LanceDB after a kill', () => {
  it('opens, and holds every document that was acknowledged, whole', async () => {
    let first = 0;
    for (const acknowledged of [1, 4, 9, 2]) {
      const told = await killWriter('vectors', folder, { first, acknowledged });
      expect(told.length).toBeGreaterThanOrEqual(acknowledged);
      first += told.length + 1;
      const store = await openLanceDb({ folder });
      const revisions = await store.listRevisions('crash');
      for (const number of told) {
        const own = revisions.filter((one) => one.documentId === `d${number}`);
        expect(own).toEqual([{ documentId: `d${number}`, revision: 'new', chunks: 3 }]);
      }
      // Whatever was under way is there as a whole or not at all.
      expect(revisions.every((one) => one.chunks === 3)).toBe(true);
      const rows = revisions.reduce((sum, one) => sum + one.chunks, 0);
      expect(await store.searchText('crash', 'harbours', 1_000)).toHaveLength(rows);
      expect(await store.searchDense('crash', axis(1), 1_000)).toHaveLength(rows);
      await store.close();
    }
  });

  it('makes the text index that a kill between table and index left out', async () => {
    const store = await openLanceDb({ folder });
    await store.ensureCollection(info);
    await store.upsert('c', [chunk({ text: 'He runs.' })]);
    await store.close();
    const connection = await connect(folder);
    await (await connection.openTable('c')).dropIndex('search_text_idx');
    connection.close();
    const again = await openLanceDb({ folder });
    expect(await again.searchText('c', 'running', 5)).toHaveLength(1);
    await again.close();
  });
});

describe('LanceDB under load', () => {
  const many = (count: number) =>
    Array.from({ length: count }, (_, ordinal) =>
      chunk({
        ordinal,
        text: `harbour ${ordinal}`,
        vector: axis(ordinal, 0.9 * Math.abs(Math.sin(ordinal))),
      }),
    );

  async function unindexedRows(): Promise<number | undefined> {
    const connection = await connect(folder);
    const indexes = await (await connection.openTable('c')).listIndices();
    connection.close();
    return indexes.find((index) => index.name === 'search_text_idx')?.numUnindexedRows;
  }

  it('folds new rows into the text index by itself when they get many', async () => {
    const store = await openLanceDb({ folder });
    await store.ensureCollection(info);
    await store.upsert('c', many(1_500));
    await vi.waitFor(async () => expect(await unindexedRows()).toBe(0), { timeout: 30_000 });
    await store.upsert('c', many(3));
    expect(await unindexedRows()).toBe(3);
    await store.optimize('c');
    expect(await unindexedRows()).toBe(0);
    await store.close();
  });

  it('bounds its memory when very many search at once', async () => {
    const store = await openLanceDb({ folder });
    await store.ensureCollection({ ...info, dimension: 512 });
    const wide = many(20_000).map((one, index) => ({ ...one, vector: new Float32Array(512).fill(index) }));
    await store.upsert('c', wide);
    const query = new Float32Array(512).fill(1);
    await store.searchDense('c', query, 10);
    const before = process.memoryUsage().rss;
    await Promise.all(Array.from({ length: 150 }, () => store.searchDense('c', query, 10)));
    // With the bound it grows by some 250 MB, without by more than 1 GB.
    expect(process.memoryUsage().rss - before).toBeLessThan(700e6);
    await store.close();
  });

  it('answers searches that go on while it compacts, and keeps few old versions', async () => {
    const store = await openLanceDb({ folder });
    await store.ensureCollection(info);
    await store.upsert('c', many(900));
    let done = false;
    const searching = [1, 2, 3, 4].map(async () => {
      let searches = 0;
      for (; !done; searches += 1) {
        expect(await store.searchDense('c', axis(2), 10)).toHaveLength(10);
        expect(await store.searchText('c', 'harbours', 10)).toHaveLength(10);
      }
      return searches;
    });
    for (let round = 0; round < 25; round += 1) {
      await store.upsert('c', many(200));
      await store.optimize('c');
    }
    done = true;
    for (const searches of await Promise.all(searching)) expect(searches).toBeGreaterThan(0);
    const connection = await connect(folder);
    const versions = await (await connection.openTable('c')).listVersions();
    // 25 rounds made more than 75.
    expect(versions.length).toBeLessThan(8);
    connection.close();
    await store.close();
  });

  it('keeps the files that a slow search still reads', async () => {
    const store = await openLanceDb({ folder });
    await store.ensureCollection(info);
    await store.upsert('c', many(5));
    const connection = await connect(folder);
    const raw = await connection.openTable('c');
    const readVersion = await raw.version();
    const versions = async () => (await raw.listVersions()).map((one) => one.version);
    const gate = Promise.withResolvers<void>();
    const slow = vi.spyOn(QueryBase.prototype, 'toArray').mockImplementationOnce(async () => {
      await gate.promise;
      return [];
    });
    const search = store.searchText('c', 'harbour', 1);
    await vi.waitFor(() => expect(slow).toHaveBeenCalled());
    let optimized = false;
    const optimizing = store.optimize('c').then(() => {
      optimized = true;
    });
    await vi.waitFor(async () => expect(Math.max(...(await versions()))).toBeGreaterThan(readVersion));
    for (let turn = 0; turn < 30; turn += 1) expect(await versions()).toContain(readVersion);
    expect(optimized).toBe(false);
    gate.resolve();
    await Promise.all([search, optimizing]);
    expect(await versions()).not.toContain(readVersion);
    connection.close();
    await store.close();
  });

  it('finds the same with an approximate index as without it, new and deleted rows included', async () => {
    const store = await openLanceDb({ folder, approximateFromRows: 2_000 });
    await store.ensureCollection(info);
    await store.upsert('c', many(2_000));
    const query = axis(3, 0.4);
    const exact = await store.searchDense('c', query, 20);
    await store.optimize('c');
    const connection = await connect(folder);
    const kinds = (await (await connection.openTable('c')).listIndices()).map((index) => index.indexType);
    connection.close();
    expect(kinds).toContain('IvfRq');
    const found = await store.searchDense('c', query, 20);
    expect(found.map((hit) => hit.score.toFixed(5))).toEqual(exact.map((hit) => hit.score.toFixed(5)));
    await store.upsert('c', [chunk({ documentId: 'fresh', vector: query })]);
    expect((await store.searchDense('c', query, 1))[0]?.documentId).toBe('fresh');
    await store.deleteDocument('c', 'fresh');
    expect((await store.searchDense('c', query, 1))[0]?.documentId).toBe('doc');
    await store.close();
  });
});

describe('LanceDB in trouble', () => {
  it('names the folder that it can not use', async () => {
    const file = join(folder, 'file');
    await writeFile(file, '');
    await expect(openLanceDb({ folder: join(file, 'below') })).rejects.toMatchObject({
      reason: 'STORE_UNAVAILABLE',
      message: expect.stringContaining(file),
    });
  });

  it('finishes what was queued when it is closed, and refuses what comes later', async () => {
    const store = await openLanceDb({ folder });
    await store.ensureCollection(info);
    const writes = [0, 1, 2].map((ordinal) => store.upsert('c', [chunk({ ordinal })]));
    await Promise.all([store.close(), store.close(), ...writes]);
    await expect(store.searchText('c', 'x', 1)).rejects.toMatchObject({ reason: 'STOPPING' });
    await expect(store.upsert('c', [chunk()])).rejects.toMatchObject({ reason: 'STOPPING' });
    const again = await openLanceDb({ folder });
    expect(await again.listRevisions('c')).toMatchObject([{ chunks: 3 }]);
    await again.close();
  });

  it('leaves tables of others alone', async () => {
    const connection = await connect(folder);
    await connection.createTable('theirs', [{ a: 1 }]);
    connection.close();
    const store = await openLanceDb({ folder });
    expect(await store.listCollections()).toEqual([]);
    expect(await store.getCollection('theirs')).toBeUndefined();
    await store.dropCollection('theirs');
    await store.close();
    expect(await readdir(folder)).toEqual(['theirs.lance']);
  });
});
