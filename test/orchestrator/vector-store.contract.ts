import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { VectorStore } from '../../orchestrator/ports.ts';
import { axis, chunk, dimension, grainyVector } from './stored-chunk.ts';
import { robustnessContract } from './vector-store-robustness.contract.ts';
import { searchContract } from './vector-store-search.contract.ts';
import { everything, type Subject } from './vector-store-subject.ts';

/** One opened store under test. */
export interface VectorStoreHarness {
  store: VectorStore;
  /** Closes the store and opens it again on the same data. */
  reopen(): Promise<VectorStore>;
  /** Closes the store and removes what it kept. */
  cleanup(): Promise<void>;
}

export interface VectorStoreContractOptions {
  /**
   * How far a component of a unit vector may be off when it is read back. 0: the same bits. Qdrant normalises what it
   * stores for cosine, so that the last bits of a float32 may change.
   */
  vectorTolerance: number;
}

let serial = 0;

/** Runs what every VectorStore must do. `open` is called once; each test has a collection of its own. */
export function vectorStoreContract(
  name: string,
  open: () => Promise<VectorStoreHarness>,
  options: VectorStoreContractOptions,
): void {
  describe(`${name}: vector store contract`, () => {
    let harness: VectorStoreHarness;
    const subject: Subject = {
      store: {} as VectorStore,
      collection: '',
      info: { name: '', dimension, space: '' },
    };
    beforeAll(async () => {
      harness = await open();
      subject.store = harness.store;
    });
    beforeEach(async () => {
      serial += 1;
      subject.collection = `nereid-test.${process.pid}_${serial}`;
      subject.info = { name: subject.collection, dimension, space: 'space-a' };
      await subject.store.ensureCollection(subject.info);
      return () => subject.store.dropCollection(subject.collection);
    });
    afterAll(() => harness?.cleanup());

    describe('collections', () => collectionTests(subject));
    describe('writing', () => writingTests(subject));
    describe('reading vectors', () => vectorTests(subject, options));
    describe('searching', () => searchContract(subject));
    describe('odd strings and crowds', () => robustnessContract(subject));
    it('keeps everything when it is closed and opened again', async () => {
      const written = [
        chunk({ text: 'the lighthouse', title: 'Sea', page: 3, pageEnd: 4, pageEndOffset: 6 }),
        chunk({ ordinal: 1 }),
      ];
      await subject.store.upsert(subject.collection, written);
      subject.store = await harness.reopen();
      expect(await subject.store.getCollection(subject.collection)).toEqual(subject.info);
      expect([...(await everything(subject)).keys()].sort()).toEqual(['doc:r1:0', 'doc:r1:1']);
      const [hit] = await subject.store.searchText(subject.collection, 'lighthouses', 5);
      expect(hit).toMatchObject({
        chunkId: 'doc:r1:0',
        page: 3,
        pageEnd: 4,
        pageEndOffset: 6,
        title: 'Sea',
        text: 'the lighthouse',
      });
    });
  });
}

function collectionTests(subject: Subject): void {
  it('tells what a collection holds', async () => {
    expect(await subject.store.getCollection(subject.collection)).toEqual(subject.info);
    expect(await subject.store.listCollections()).toContainEqual(subject.info);
    expect(await subject.store.getCollection('no-such-collection')).toBeUndefined();
  });

  it('makes a collection once, however many ask for it at the same time', async () => {
    const info = { ...subject.info, name: `${subject.collection}-x` };
    await Promise.all([1, 2, 3].map(() => subject.store.ensureCollection(info)));
    expect((await subject.store.listCollections()).filter((one) => one.name === info.name)).toEqual([info]);
    await subject.store.dropCollection(info.name);
  });

  it('refuses another space or dimension under the same name', async () => {
    const { store, info } = subject;
    await expect(store.ensureCollection({ ...info, space: 'space-b' })).rejects.toMatchObject({
      reason: 'SPACE_MISMATCH',
      message: expect.stringMatching(/space-a.*space-b/s),
    });
    await expect(store.ensureCollection({ ...info, dimension: 16 })).rejects.toMatchObject({
      reason: 'SPACE_MISMATCH',
    });
    await expect(store.ensureCollection(info)).resolves.toBeUndefined();
  });

  it('forgets a dropped collection, and can make it anew in another space', async () => {
    const { store, collection, info } = subject;
    await store.upsert(collection, [chunk()]);
    await store.dropCollection(collection);
    await store.dropCollection(collection);
    expect(await store.getCollection(collection)).toBeUndefined();
    await store.ensureCollection({ ...info, space: 'space-b' });
    expect(await store.getCollection(collection)).toEqual({ ...info, space: 'space-b' });
    expect(await everything(subject)).toEqual(new Map());
  });

  it('treats a collection that does not exist as empty, but refuses to write to it', async () => {
    const { store } = subject;
    expect(await store.searchDense('none', axis(0), 5)).toEqual([]);
    expect(await store.searchText('none', 'word', 5)).toEqual([]);
    expect(await store.listRevisions('none')).toEqual([]);
    expect(await store.vectorsByHash('none', 'doc', 'r1')).toEqual(new Map());
    await store.deleteDocument('none', 'doc');
    await store.optimize('none');
    await expect(store.upsert('none', [chunk()])).rejects.toMatchObject({ reason: 'NOT_FOUND' });
  });

  it.each(['', 'a/b', '../up', 'a b', 'é', 'x'.repeat(65), "a'b"])('refuses %j as a name', async (name) => {
    const { store, info } = subject;
    await expect(store.ensureCollection({ ...info, name })).rejects.toMatchObject({
      reason: 'INVALID_INPUT',
    });
    await expect(store.searchText(name, 'x', 1)).rejects.toMatchObject({ reason: 'INVALID_INPUT' });
  });
}

function writingTests(subject: Subject): void {
  it('gives back exactly what was stored', async () => {
    const full = chunk({
      page: 7,
      pageEnd: 9,
      pageEndOffset: 20,
      title: 'A title',
      text: 'Line one\n\nline\ttwo ',
      start: 12,
      end: 2 ** 31 - 1,
    });
    const bare = chunk({ ordinal: 1, text: '', title: '' });
    await subject.store.upsert(subject.collection, [full, bare]);
    const { vector: _, ...fullWithout } = full;
    const { vector: __, ...bareWithout } = bare;
    const found = await everything(subject);
    expect(found.get(full.chunkId)).toStrictEqual(fullWithout);
    expect(found.get(bare.chunkId)).toStrictEqual(bareWithout);
  });

  it('replaces by chunk id, text and vector alike', async () => {
    const { store, collection } = subject;
    await store.upsert(collection, [chunk({ text: 'old harbour', vector: axis(0) }), chunk({ ordinal: 1 })]);
    await store.upsert(collection, [chunk({ text: 'new mountain', vector: axis(5) })]);
    expect((await everything(subject)).size).toBe(2);
    expect(await store.searchText(collection, 'harbour', 5)).toEqual([]);
    expect((await store.searchText(collection, 'mountain', 5)).map((hit) => hit.chunkId)).toEqual([
      'doc:r1:0',
    ]);
    expect((await store.searchDense(collection, axis(5), 1))[0]).toMatchObject({ text: 'new mountain' });
  });

  it('takes the last of two chunks with one id in the same call, and an empty list', async () => {
    const { store, collection } = subject;
    await store.upsert(collection, []);
    await store.upsert(collection, [chunk({ text: 'first' }), chunk({ text: 'second' })]);
    expect([...(await everything(subject)).values()].map((one) => one.text)).toEqual(['second']);
  });

  it('refuses vectors that do not fit, and stores nothing of that call', async () => {
    const { store, collection } = subject;
    const short = chunk({ ordinal: 1, vector: new Float32Array(3) });
    await expect(store.upsert(collection, [chunk(), short])).rejects.toMatchObject({
      reason: 'SPACE_MISMATCH',
      message: expect.stringMatching(/doc:r1:1.* 3 .* 8/s),
    });
    const broken = chunk({ vector: axis(0).fill(Number.NaN, 2, 3) });
    await expect(store.upsert(collection, [broken])).rejects.toMatchObject({ reason: 'INVALID_INPUT' });
    await expect(store.searchDense(collection, new Float32Array(3), 1)).rejects.toMatchObject({
      reason: 'SPACE_MISMATCH',
    });
    expect(await everything(subject)).toEqual(new Map());
  });

  it('deletes a document, one revision, or all but one', async () => {
    const { store, collection } = subject;
    const write = (documentId: string, revision: string) =>
      store.upsert(collection, [
        chunk({ documentId, revision }),
        chunk({ documentId, revision, ordinal: 1 }),
      ]);
    for (const revision of ['r1', 'r2', 'r3']) await write('a', revision);
    await write('b', 'r1');
    await store.deleteDocument(collection, 'a', { revision: 'r2' });
    const left = async () =>
      (await store.listRevisions(collection))
        .map((one) => `${one.documentId} ${one.revision} ${one.chunks}`)
        .sort();
    expect(await left()).toEqual(['a r1 2', 'a r3 2', 'b r1 2']);
    await store.deleteDocument(collection, 'a', { exceptRevision: 'r3' });
    expect(await left()).toEqual(['a r3 2', 'b r1 2']);
    await store.deleteDocument(collection, 'a');
    await store.deleteDocument(collection, 'a');
    expect(await left()).toEqual(['b r1 2']);
    expect((await store.searchText(collection, 'text', 10)).map((hit) => hit.documentId)).toEqual(['b', 'b']);
  });
}

function vectorTests(subject: Subject, { vectorTolerance }: VectorStoreContractOptions): void {
  it('gives vectors by content hash', async () => {
    const { store, collection } = subject;
    const written = Array.from({ length: 70 }, (_, ordinal) =>
      chunk({ ordinal, vector: grainyVector(ordinal) }),
    );
    await store.upsert(collection, written);
    await store.upsert(collection, [
      chunk({ revision: 'r2', text: 'other revision' }),
      chunk({ documentId: 'other' }),
    ]);
    const found = await store.vectorsByHash(collection, 'doc', 'r1');
    expect([...found.keys()].sort()).toEqual(written.map((one) => one.contentHash).sort());
    for (const { contentHash, vector } of written) {
      const got = found.get(contentHash)!;
      expect(got).toBeInstanceOf(Float32Array);
      if (vectorTolerance === 0) expect(got).toEqual(vector);
      else
        for (const [index, value] of vector.entries())
          expect(Math.abs(got[index]! - value)).toBeLessThan(vectorTolerance);
    }
  });
}
