import { expect, it } from 'vitest';
import { axis, chunk } from './stored-chunk.ts';
import type { Subject } from './vector-store-subject.ts';

/** What dense and full-text search must do in every VectorStore; part of `vectorStoreContract`. */
export function searchContract(subject: Subject): void {
  denseTests(subject);
  textTests(subject);
  anyQueryTests(subject);
  optimizedTests(subject);
}

const ids = (hits: readonly { chunkId: string }[]) => hits.map((hit) => hit.chunkId);

async function texts({ store, collection }: Subject, ...all: (string | { title: string; text: string })[]) {
  const chunks = all.map((one, ordinal) =>
    chunk({ ordinal, ...(typeof one === 'string' ? { text: one } : one), documentId: 'd', revision: 'r' }),
  );
  await store.upsert(collection, chunks);
}

function denseTests(subject: Subject): void {
  it('ranks by cosine and tells it', async () => {
    const { store, collection } = subject;
    const tilts = [0.9, 0, 0.3, 0.6];
    await store.upsert(
      collection,
      tilts.map((tilt, ordinal) => chunk({ ordinal, vector: axis(0, tilt) })),
    );
    const hits = await store.searchDense(collection, axis(0), 3);
    expect(ids(hits)).toEqual(['doc:r1:1', 'doc:r1:2', 'doc:r1:3']);
    for (const [index, tilt] of [0, 0.3, 0.6].entries())
      expect(hits[index]!.score).toBeCloseTo(Math.sqrt(1 - tilt ** 2), 5);
  });

  it('ignores the length of the query vector, and gives at most what there is', async () => {
    const { store, collection } = subject;
    expect(await store.searchDense(collection, axis(0), 5)).toEqual([]);
    await store.upsert(collection, [chunk({ vector: axis(0) }), chunk({ ordinal: 1, vector: axis(4) })]);
    const hits = await store.searchDense(
      collection,
      axis(0).map((value) => value * 7),
      50,
    );
    expect(hits.map((hit) => Math.round(hit.score * 1e4) / 1e4)).toEqual([1, 0]);
  });
}

function textTests(subject: Subject): void {
  it('finds other forms of a word, in any case', async () => {
    await texts(subject, 'He runs every morning.', 'The cat sleeps.', 'Nothing of the kind.');
    const search = (query: string) => subject.store.searchText(subject.collection, query, 5).then(ids);
    expect(await search('running')).toEqual(['d:r:0']);
    expect(await search('RUN')).toEqual(['d:r:0']);
    expect(await search('cats sleeping')).toEqual(['d:r:1']);
    expect(await search('cat')).toEqual(['d:r:1']);
  });

  it('ranks rare words over common ones', async () => {
    await texts(
      subject,
      'apple orchard',
      'apple cider',
      'apple tart',
      'apple sauce',
      'quince jelly',
      'pear tree',
    );
    const hits = await subject.store.searchText(subject.collection, 'apple quince', 5);
    expect(hits[0]?.chunkId).toBe('d:r:4');
    expect(hits).toHaveLength(5);
    expect(hits[0]!.score).toBeGreaterThan(hits[1]!.score);
  });

  it('ranks more matches over fewer', async () => {
    await texts(subject, 'apple in a box', 'apple and apple sauce', 'apple quince tart', 'pear tree');
    const hits = await subject.store.searchText(subject.collection, 'quince apple', 5);
    expect(ids(hits)).toEqual(['d:r:2', 'd:r:1', 'd:r:0']);
    expect(hits.every((hit, index) => index === 0 || hits[index - 1]!.score >= hit.score)).toBe(true);
  });

  it('keeps only the best when there are more than the limit', async () => {
    const filler = Array.from(
      { length: 30 },
      (_, index) => `valley number ${index} and other words about rivers`,
    );
    await texts(subject, ...filler, 'valley valley valley');
    expect(ids(await subject.store.searchText(subject.collection, 'valley', 1))).toEqual(['d:r:30']);
  });

  it('searches titles, and a match there says more than one in the text', async () => {
    await texts(
      subject,
      { title: 'Soil', text: 'gardening water' },
      { title: 'Gardening', text: 'soil water' },
      { title: 'Cooking', text: 'salt pepper' },
    );
    const hits = await subject.store.searchText(subject.collection, 'gardening', 5);
    expect(ids(hits)).toEqual(['d:r:1', 'd:r:0']);
    expect(hits[0]!.score).toBeGreaterThan(hits[1]!.score * 1.05);
    expect(hits[0]).toMatchObject({ title: 'Gardening', text: 'soil water' });
  });

  it('finds words in scripts that write no spaces', async () => {
    await texts(subject, '全文検索の仕組み', '天気予報', 'สวัสดีชาวโลก');
    expect(ids(await subject.store.searchText(subject.collection, '検索', 5))).toEqual(['d:r:0']);
    expect(ids(await subject.store.searchText(subject.collection, 'โลก', 5))).toEqual(['d:r:2']);
  });
}

function anyQueryTests(subject: Subject): void {
  it('takes any string as words, never as a query language', async () => {
    await texts(subject, 'plain harbour text', 'unrelated words');
    const search = (query: string) => subject.store.searchText(subject.collection, query, 5).then(ids);
    for (const query of ['', ' \n', 'the of and', '🙂', '"', '***', '(((', '\u0000', '\ud800', 'zebra']) {
      expect(await search(query), JSON.stringify(query)).toEqual([]);
    }
    for (const query of [
      '"harbour',
      'harbour AND (',
      'NOT harbour',
      '-harbour',
      'text:harbour^2',
      "harbour's",
      'harbour~ OR *',
      'the harbour 🙂',
      '\ud800 harbour',
    ]) {
      expect(await search(query), JSON.stringify(query)).toEqual(['d:r:0']);
    }
  });

  it('takes a query of 100 KB', async () => {
    await texts(subject, 'plain harbour text', 'unrelated words');
    const many = Array.from({ length: 12_000 }, (_, index) => `w${index.toString(36)}x`).join(' ');
    expect(ids(await subject.store.searchText(subject.collection, `${many} harbour`, 5))).toEqual(['d:r:0']);
    expect(ids(await subject.store.searchText(subject.collection, 'harbour '.repeat(13_000), 5))).toEqual([
      'd:r:0',
    ]);
  });
}

function optimizedTests(subject: Subject): void {
  it('answers the same before optimize, after it, and with new rows on top', async () => {
    const { store, collection } = subject;
    const search = (query: string) => store.searchText(collection, query, 5).then(ids);
    await texts(subject, 'harbours at dawn', 'mountain at noon', 'river at night');
    expect(await search('harbour')).toEqual(['d:r:0']);
    await store.optimize(collection);
    expect(await search('harbour')).toEqual(['d:r:0']);
    await store.upsert(collection, [
      chunk({ text: 'a harbour, a harbour and one more harbour', vector: axis(7) }),
    ]);
    expect((await search('harbours')).sort()).toEqual(['d:r:0', 'doc:r1:0']);
    expect(ids(await store.searchDense(collection, axis(7), 1))).toEqual(['doc:r1:0']);
    await store.deleteDocument(collection, 'd');
    expect(await search('harbour')).toEqual(['doc:r1:0']);
    await store.optimize(collection);
    expect(await search('harbour')).toEqual(['doc:r1:0']);
    await store.deleteDocument(collection, 'doc');
    await store.optimize(collection);
    await texts(subject, 'valley valley', 'harbour harbour', 'harbour in the valley of the river');
    expect(await search('harbour')).toEqual(['d:r:1', 'd:r:2']);
    expect(await store.getCollection(collection)).toEqual(subject.info);
  });
}
