import type { Embedder, Reranker, ScoredChunk } from '../../orchestrator/ports.ts';
import type { SearchDeps } from '../../orchestrator/retrieve/search.ts';

/** A chunk of document `id` up to the first slash, with sensible values for what a test does not care about. */
export function scoredChunk(id: string, chunk: Partial<ScoredChunk> = {}): ScoredChunk {
  const documentId = id.split('/')[0]!;
  const text = `text of ${id}`;
  return {
    chunkId: id,
    documentId,
    revision: 'r1',
    ordinal: 0,
    start: 0,
    end: text.length,
    text,
    title: '',
    contentHash: id,
    score: 1,
    ...chunk,
  };
}

export interface FakeStore {
  dense: ScoredChunk[];
  keyword: ScoredChunk[];
  space: string | undefined;
  collections: string[];
  /** Limits asked for, in order. */
  asked: { source: 'dense' | 'keyword'; limit: number }[];
  visible: Map<string, string>;
  /** Called before a source answers; may wait or throw. */
  before: (source: 'dense' | 'keyword') => void | Promise<void>;
}

/** Everything a search needs, answering what the test puts into it. */
export function fakeSearchDeps(): {
  store: FakeStore;
  embedder: Embedder;
  reranker: Reranker;
  deps: SearchDeps;
} {
  const store: FakeStore = {
    dense: [],
    keyword: [],
    space: 'space-1',
    collections: ['default'],
    asked: [],
    visible: new Map(),
    before: () => undefined,
  };
  const ask = async (source: 'dense' | 'keyword', limit: number) => {
    store.asked.push({ source, limit });
    await store.before(source);
    return store[source].slice(0, limit);
  };
  const model = {
    model: 'mini',
    version: 1,
    space: 'space-1',
    dimension: 2,
    maxTokens: 256,
    specialTokens: 2,
  };
  const embedder: Embedder = {
    describe: async () => model,
    embed: async (texts) => ({
      ...model,
      vectors: texts.map(() => new Float32Array([1, 0])),
      truncated: texts.map(() => false),
    }),
    countTokens: async (texts) => texts.map((text) => text.split(/\s+/).filter(Boolean).length),
  };
  const reranker: Reranker = {
    rerank: async (_query, passages) => ({
      kind: 'late_interaction',
      model: 'mini',
      scores: passages.map(() => ({ score: 0.5, rawScore: 0 })),
    }),
  };
  const info = (name: string) => ({ name, dimension: 2, space: store.space ?? '' });
  const deps: SearchDeps = {
    embedder,
    reranker,
    vectors: {
      ...unused,
      getCollection: async (name) => (store.collections.includes(name) ? info(name) : undefined),
      listCollections: async () => store.collections.map(info),
      searchDense: (_collection, _vector, limit) => ask('dense', limit),
      searchText: (_collection, _query, limit) => ask('keyword', limit),
    },
    metadata: {
      visibleRevisions: (_collection, ids) =>
        new Map(ids.flatMap((id) => (store.visible.get(id) ? [[id, store.visible.get(id)!]] : []))),
    },
  };
  return { store, embedder, reranker, deps };
}

const no = () => {
  throw new Error('a search never calls this');
};
const unused = {
  description: 'fake',
  ensureCollection: no,
  dropCollection: no,
  upsert: no,
  deleteDocument: no,
  vectorsByHash: no,
  listRevisions: no,
  optimize: no,
  close: no,
};
