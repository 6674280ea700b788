import { beforeEach, expect, test } from 'vitest';
import { RagError } from '../../orchestrator/errors.ts';
import type { Embedder, Reranker } from '../../orchestrator/ports.ts';
import type { SearchDeps, SearchRequest } from '../../orchestrator/retrieve/search.ts';
import { search } from '../../orchestrator/retrieve/search.ts';
import type { FakeStore } from './fake-store.ts';
import { fakeSearchDeps, scoredChunk } from './fake-store.ts';

let store: FakeStore;
let embedder: Embedder;
let reranker: Reranker;
let deps: SearchDeps;

beforeEach(() => {
  ({ store, embedder, reranker, deps } = fakeSearchDeps());
  store.dense = ['a', 'b', 'c'].map((id, index) => scoredChunk(id, { score: 0.9 - index / 10 }));
  store.keyword = ['b', 'd'].map((id, index) => scoredChunk(id, { score: 12 - index }));
  for (const id of 'abcd') store.visible.set(id, 'r1');
});

const find = (request: Partial<SearchRequest> = {}, signal?: AbortSignal) =>
  search(deps, { query: 'what', collection: 'default', rerank: false, ...request }, { signal });

const failure = (work: Promise<unknown>): Promise<RagError> =>
  work.then(
    () => expect.unreachable('it should have failed'),
    (error: unknown) => RagError.from(error),
  );

const never = () => new Promise<never>(() => undefined);

test('both sources are fused, and each stage tells its time', async () => {
  const { hits, score_kind, degraded, timings, mode } = await find();
  expect(hits.map(({ chunk_id }) => chunk_id)).toEqual(['b', 'a', 'd', 'c']);
  expect(hits[0]?.sources).toEqual({ dense: { rank: 2, score: 0.8 }, keyword: { rank: 1, score: 12 } });
  expect({ score_kind, degraded, mode }).toEqual({ score_kind: 'rrf', degraded: [], mode: 'hybrid' });
  expect(Object.keys(timings).toSorted()).toEqual([
    'dense_ms',
    'embed_ms',
    'fuse_ms',
    'keyword_ms',
    'total_ms',
  ]);
  expect(Object.values(timings).every((ms) => typeof ms === 'number' && ms >= 0)).toBe(true);
});

test.each([
  ['dense', ['a', 'b', 'c'], 'cosine', 0.9],
  ['keyword', ['b', 'd'], 'bm25', 12],
] as const)('mode %s asks only that source and keeps its scores', async (mode, ids, kind, best) => {
  const { hits, score_kind, timings } = await find({ mode });
  expect(hits.map(({ chunk_id }) => chunk_id)).toEqual(ids);
  expect(hits[0]?.score).toBe(best);
  expect(score_kind).toBe(kind);
  expect(store.asked.map(({ source }) => source)).toEqual([mode]);
  expect(timings[mode === 'dense' ? 'keyword_ms' : 'dense_ms']).toBeUndefined();
});

test('keyword search needs no model', async () => {
  embedder.embed = never;
  expect((await find({ mode: 'keyword' })).hits).toHaveLength(2);
});

test('a hit has page, offsets and title as the chunk has them', async () => {
  store.keyword = [
    scoredChunk('d', {
      page: 3,
      pageEnd: 4,
      pageEndOffset: 110,
      start: 100,
      end: 120,
      title: 'T',
      text: 'found',
    }),
  ];
  const [hit] = (await find({ mode: 'keyword' })).hits;
  expect(hit).toMatchObject({
    document_id: 'd',
    page: 3,
    page_end: 4,
    page_end_offset: 110,
    offsets: { start: 100, end: 120 },
    title: 'T',
    text: 'found',
  });
  expect(Object.keys((await find({ mode: 'dense' })).hits[0]!)).not.toContain('page');
});

test('top_k bounds the hits, 10 when it is not given', async () => {
  store.keyword = Array.from({ length: 300 }, (_, index) => scoredChunk(`d/${index}`, { score: -index }));
  expect((await find({ top_k: 2 })).hits).toHaveLength(2);
  expect((await find()).hits).toHaveLength(10);
  expect((await find({ top_k: 100, mode: 'keyword' })).hits).toHaveLength(100);
});

test.each([
  [{ query: '  ' }, 'empty'],
  [{ query: 'x'.repeat(8_001) }, '8001'],
  [{ top_k: 0 }, 'top_k is 0'],
  [{ top_k: 101 }, '100'],
  [{ top_k: 1.5 }, '1.5'],
])('bad input is refused with the limit: %j', async (request, says) => {
  const error = await failure(find(request));
  expect(error.reason).toBe('INVALID_INPUT');
  expect(error.message).toContain(says);
});

test('an unknown collection is refused with the names of those there are', async () => {
  const error = await failure(find({ collection: 'defualt' }));
  expect(error.reason).toBe('NOT_FOUND');
  expect(error.message).toMatch(/"defualt".*default/);
});

test('an empty store has nothing to find', async () => {
  store.collections = [];
  expect(await find()).toMatchObject({ hits: [], degraded: [] });
});

test('chunks of revisions that readers must not see are refilled from below', async () => {
  const stale = Array.from({ length: 150 }, (_, index) => scoredChunk(`a/${index}`, { revision: 'r0' }));
  const pending = Array.from({ length: 50 }, (_, index) => scoredChunk(`new/${index}`, { revision: 'r1' }));
  store.dense = [...stale, ...pending, scoredChunk('b'), scoredChunk('c')];
  const { hits } = await find({ mode: 'dense', top_k: 2 });
  expect(hits.map(({ chunk_id }) => chunk_id)).toEqual(['b', 'c']);
  expect(hits[0]?.sources.dense?.rank).toBe(1);
  expect(store.asked.map(({ limit }) => limit)).toEqual([100, 400, 1_600].slice(0, store.asked.length));
});

test('a document that was published between the search and the look at its revision is found', async () => {
  store.dense = [scoredChunk('a', { chunkId: 'a:r1:0', revision: 'r1' })];
  store.before = () => {
    if (store.asked.length === 1) store.visible.set('a', 'r2');
    else store.dense = [scoredChunk('a', { chunkId: 'a:r2:0', revision: 'r2' })];
  };
  expect((await find({ mode: 'dense' })).hits.map(({ chunk_id }) => chunk_id)).toEqual(['a:r2:0']);
});

test('refilling ends although everything is hidden', async () => {
  store.visible.clear();
  store.dense = Array.from({ length: 20_000 }, (_, index) => scoredChunk(`a/${index}`));
  expect((await find({ mode: 'dense' })).hits).toEqual([]);
  expect(Math.max(...store.asked.map(({ limit }) => limit))).toBeLessThanOrEqual(5_000);
});

test('one failing source is told, and the other one answers', async () => {
  embedder.embed = async () => {
    throw new RagError('MODEL_SERVER_UNAVAILABLE', 'no server at 127.0.0.1:1');
  };
  const { hits, degraded } = await find();
  expect(hits.map(({ chunk_id }) => chunk_id)).toEqual(['b', 'd']);
  expect(degraded).toEqual([
    { source: 'dense', reason: 'MODEL_SERVER_UNAVAILABLE', message: 'no server at 127.0.0.1:1' },
  ]);
});

test('when all sources fail, the first failure is the answer', async () => {
  embedder.embed = async () => {
    throw new RagError('MODEL_SERVER_UNAVAILABLE', 'away');
  };
  store.before = () => {
    throw new RagError('STORE_UNAVAILABLE', 'broken');
  };
  expect((await failure(find())).reason).toBe('MODEL_SERVER_UNAVAILABLE');
});

test('a hanging source is given up, and the other one answers', async () => {
  store.before = (source) => (source === 'dense' ? never() : undefined);
  deps.limits = { sourceTimeoutMs: 20 };
  const { hits, degraded } = await find();
  expect(hits).toHaveLength(2);
  expect(degraded).toMatchObject([{ source: 'dense', reason: 'DEADLINE_EXCEEDED' }]);
});

test("the query is embedded in the collection's space", async () => {
  const asked: unknown[] = [];
  const { embed } = embedder;
  embedder.embed = (texts, options) => {
    asked.push([texts, options?.space]);
    return embed(texts, options);
  };
  expect((await find()).degraded).toEqual([]);
  expect(asked).toEqual([[['what'], 'space-1']]);
});

test('a space that nobody serves is refused, also when keyword search could answer', async () => {
  store.space = 'space-0';
  embedder.embed = async () => {
    throw new RagError('SPACE_MISMATCH', 'The server has mini version 1 (space space-1).');
  };
  const error = await failure(find());
  expect(error.reason).toBe('SPACE_MISMATCH');
  expect(error.message).toMatch(/"default".*space-0.*mini version 1.*space-1.*new collection.*"keyword"/);
  expect(store.asked.map(({ source }) => source)).not.toContain('dense');
  expect((await find({ mode: 'keyword' })).hits).toHaveLength(2);
});

test('vectors of another space are never compared, whatever an embedder answers', async () => {
  store.space = 'space-0';
  const error = await failure(find());
  expect(error.reason).toBe('SPACE_MISMATCH');
  expect(error.message).toMatch(/"default".*space-0.*mini version 1.*space-1/);
  expect(store.asked.map(({ source }) => source)).not.toContain('dense');
});

test("the caller's abort ends a search that hangs", async () => {
  const stop = new AbortController();
  store.before = () => {
    stop.abort();
    return never();
  };
  expect((await failure(find({}, stop.signal))).reason).toBe('CANCELLED');
  expect((await failure(find({}, AbortSignal.abort(new DOMException('late', 'TimeoutError'))))).reason).toBe(
    'DEADLINE_EXCEEDED',
  );
});

test('reranking is on by default, blends both scores and shows its own', async () => {
  const scores: Record<string, number> = {
    'T\ntext of c': 0.9,
    'text of a': 0.2,
    'text of b': 0.3,
    'text of d': 0.1,
  };
  store.dense[2]!.title = 'T';
  reranker.rerank = async (_query, passages) => ({
    kind: 'late_interaction',
    model: 'mini',
    scores: passages.map((passage) => ({ score: scores[passage]!, rawScore: scores[passage]! * 2 - 1 })),
  });
  const { hits, score_kind, timings } = await find({ rerank: undefined });
  expect(score_kind).toBe('fused_late_interaction');
  expect(hits.map(({ chunk_id }) => chunk_id)).toEqual(['b', 'c', 'a', 'd']);
  expect(hits[1]?.sources.rerank).toEqual({ rank: 1, score: 0.9, raw_score: 0.8, kind: 'late_interaction' });
  expect(hits.every(({ score }, index) => index === 0 || score <= hits[index - 1]!.score)).toBe(true);
  expect(timings.rerank_ms).toBeGreaterThanOrEqual(0);
});

test('the best 50 are scored again, or as many as hits are wanted', async () => {
  store.keyword = Array.from({ length: 100 }, (_, index) => scoredChunk(`d/${index}`));
  const sizes: number[] = [];
  const { rerank } = reranker;
  reranker.rerank = (query, passages) => {
    sizes.push(passages.length);
    return rerank(query, passages);
  };
  await find({ mode: 'keyword', rerank: true });
  await find({ mode: 'keyword', rerank: true, top_k: 80 });
  expect(sizes).toEqual([50, 80]);
});

test.each([
  ['fails', async () => Promise.reject(new RagError('QUEUE_FULL', 'busy')), 'QUEUE_FULL'],
  ['hangs', never, 'DEADLINE_EXCEEDED'],
] as const)('a reranker that %s leaves the first order and is told', async (_how, rerank, reason) => {
  reranker.rerank = rerank;
  deps.limits = { rerankTimeoutMs: 20 };
  const { hits, degraded, score_kind } = await find({ rerank: true });
  expect(hits.map(({ chunk_id }) => chunk_id)).toEqual(['b', 'a', 'd', 'c']);
  expect(degraded).toMatchObject([{ source: 'rerank', reason }]);
  expect(score_kind).toBe('rrf');
});
