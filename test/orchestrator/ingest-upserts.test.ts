import { expect, it } from 'vitest';
import { GroupedUpserts } from '../../orchestrator/ingest/grouped-upserts.ts';
import type { ChunkWithVector } from '../../orchestrator/ports.ts';

function rows(documentId: string, count: number): ChunkWithVector[] {
  return Array.from({ length: count }, (_, ordinal) => ({
    chunkId: `${documentId}:r:${ordinal}`,
    documentId,
    revision: 'r',
    ordinal,
    start: 0,
    end: 1,
    text: 'x',
    title: '',
    contentHash: '',
    vector: new Float32Array(1),
  }));
}

/** A store that records its calls and answers when told. */
function slowStore() {
  const calls: { collection: string; documents: string[]; rows: number; settle: (error?: Error) => void }[] =
    [];
  const upsert = (collection: string, chunks: readonly ChunkWithVector[]) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const documents = [...new Set(chunks.map(({ documentId }) => documentId))];
    const settle = (error?: Error) => (error === undefined ? resolve() : reject(error));
    calls.push({ collection, documents, rows: chunks.length, settle });
    return promise;
  };
  return { calls, upsert };
}

it('writes at once what comes first, and together what comes meanwhile', async () => {
  const store = slowStore();
  const upserts = new GroupedUpserts(store);
  const done: string[] = [];
  const write = (id: string, count = 2) => upserts.upsert('c', rows(id, count)).then(() => done.push(id));
  const first = write('a');
  const later = [write('b'), write('c')];
  expect(store.calls.map(({ documents }) => documents)).toEqual([['a']]);
  store.calls[0]!.settle();
  await first;
  expect(done).toEqual(['a']);
  expect(store.calls.map(({ documents }) => documents)).toEqual([['a'], ['b', 'c']]);
  store.calls[1]!.settle();
  await Promise.all(later);
  const again = write('d');
  store.calls[2]!.settle();
  await again;
  expect(done).toEqual(['a', 'b', 'c', 'd']);
});

it('does not let collections wait for each other', () => {
  const store = slowStore();
  const upserts = new GroupedUpserts(store);
  void upserts.upsert('one', rows('a', 1));
  void upserts.upsert('two', rows('b', 1));
  expect(store.calls.map(({ collection }) => collection)).toEqual(['one', 'two']);
});

it('bounds the rows of one call', async () => {
  const store = slowStore();
  const upserts = new GroupedUpserts(store);
  const first = upserts.upsert('c', rows('a', 1));
  const later = ['b', 'c', 'd'].map((id) => upserts.upsert('c', rows(id, 500)));
  store.calls[0]!.settle();
  await first;
  store.calls[1]!.settle();
  await later[1];
  store.calls[2]!.settle();
  await Promise.all(later);
  expect(store.calls.map(({ rows: count }) => count)).toEqual([1, 1_000, 500]);
});

it("does not let one document's bad rows hurt the others of its group", async () => {
  const store = slowStore();
  const upserts = new GroupedUpserts(store);
  const first = upserts.upsert('c', rows('a', 1));
  const outcomes = Promise.allSettled(['good', 'bad', 'fine'].map((id) => upserts.upsert('c', rows(id, 1))));
  store.calls[0]!.settle();
  await first;
  store.calls[1]!.settle(new Error('bad rows'));
  for (let i = 2; i < 5; i++) {
    await expect.poll(() => store.calls.length).toBe(i + 1);
    store.calls[i]!.settle(i === 3 ? new Error('bad rows') : undefined);
  }
  expect((await outcomes).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
});
