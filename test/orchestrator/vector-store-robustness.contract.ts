import { expect, it } from 'vitest';
import { axis, chunk } from './stored-chunk.ts';
import { everything, type Subject } from './vector-store-subject.ts';

/** Ids and texts of any characters, and many callers at once; part of `vectorStoreContract`. */
export function robustnessContract(subject: Subject): void {
  stringTests(subject);
  surrogateTests(subject);
  concurrencyTests(subject);
}

function stringTests(subject: Subject): void {
  const odd = [
    "o'clock",
    "' OR 1=1 --",
    '"quoted"',
    'back\\slash',
    '%_*?',
    'a:b:c',
    'naïve 日本 🙂',
    ' ',
    'tab\tline\n',
    '\u0000x',
  ];
  it('keeps ids, revisions and texts of any characters apart', async () => {
    const { store, collection } = subject;
    const written = odd.map((id, ordinal) =>
      chunk({ documentId: id, revision: id, text: id, title: id, ordinal }),
    );
    await store.upsert(collection, written);
    const found = await everything(subject);
    for (const { vector: _, ...one } of written) expect(found.get(one.chunkId)).toStrictEqual(one);
    for (const id of odd) {
      expect([...(await store.vectorsByHash(collection, id, id)).keys()]).toEqual([`hash of ${id}`]);
      await store.deleteDocument(collection, id, { exceptRevision: id });
    }
    expect((await store.listRevisions(collection)).length).toBe(odd.length);
    for (const [index, id] of odd.entries()) {
      await store.deleteDocument(collection, id, { revision: id });
      expect((await store.listRevisions(collection)).length).toBe(odd.length - index - 1);
    }
  });
}

function surrogateTests(subject: Subject): void {
  it('replaces halves of surrogate pairs, so that offsets still hold', async () => {
    const { store, collection } = subject;
    const text = 'a \ud83d harbour \udc00';
    await store.upsert(collection, [chunk({ documentId: 'odd \ud800', text, title: '\udfff' })]);
    const [hit] = await store.searchText(collection, 'harbours', 1);
    expect(hit).toMatchObject({ documentId: 'odd \ufffd', text: text.toWellFormed(), title: '\ufffd' });
    await store.deleteDocument(collection, 'odd \ud800');
    expect(await store.listRevisions(collection)).toEqual([]);
  });
}

function concurrencyTests(subject: Subject): void {
  it('loses nothing when many write, delete, search and optimize at once', async () => {
    const { store, collection } = subject;
    await store.upsert(collection, [chunk({ documentId: 'gone' })]);
    const writers = Array.from({ length: 24 }, (_, index) =>
      store.upsert(collection, [
        chunk({ documentId: `d${index}`, text: `common word${index}` }),
        chunk({ documentId: `d${index}`, ordinal: 1, text: 'common' }),
      ]),
    );
    const others = [
      store.deleteDocument(collection, 'gone'),
      store.optimize(collection),
      ...[1, 2, 3].map(() => store.searchText(collection, 'common', 10)),
      ...[1, 2, 3].map(() => store.searchDense(collection, axis(0), 10)),
    ];
    await Promise.all([...writers, ...others]);
    const revisions = await store.listRevisions(collection);
    expect(revisions.map((one) => one.documentId).sort()).toEqual(
      Array.from({ length: 24 }, (_, i) => `d${i}`).sort(),
    );
    expect(revisions.every((one) => one.chunks === 2)).toBe(true);
    expect(await store.searchText(collection, 'common', 100)).toHaveLength(48);
  });
}
