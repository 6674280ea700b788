import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newJob } from '../../orchestrator/ingest/new-job.ts';
import type { EmbeddingModel, JobItem } from '../../orchestrator/ports.ts';
import { search } from '../../orchestrator/retrieve/search.ts';
import { fakeTokens } from './fakes.ts';
import { openWorld, story, type World } from './ingest-harness.ts';

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

async function ingest(collection: string, documentId: string, text = story(20)): Promise<JobItem> {
  const job = newJob(collection, [await world.text(text, { documentId, title: 'Harbour' })]);
  world.metadata.putJob(job);
  const task = { collection, jobId: job.id, item: job.items[0]! };
  return world.pipeline().ingest(task, { signal: new AbortController().signal });
}

/** From now on a version of another space answers; the one that did so far is served beside it, or not. */
function moveTraffic({
  keepOld = true,
  ...model
}: Partial<EmbeddingModel> & { keepOld?: boolean } = {}): void {
  const old = world.embedder.model;
  world.embedder.model = { ...old, version: 2, space: 'new-space', ...model };
  world.embedder.others = keepOld ? [old] : [];
}

const infoOf = (name: string) => world.vectors.getCollection(name);
const documentsOf = (name: string) => new Set(world.vectors.chunks(name).map((chunk) => chunk.documentId));

describe('a collection whose version answers no longer by itself', () => {
  it('goes on taking documents, in its own space', async () => {
    await ingest('old', 'first');
    moveTraffic();
    world.embedder.spaces.clear();
    expect(await ingest('old', 'second')).toMatchObject({ status: 'ready' });
    expect(documentsOf('old')).toEqual(new Set(['first', 'second']));
    expect([...world.embedder.spaces]).toEqual(['fake-space']);
    expect(await infoOf('old')).toMatchObject({ space: 'fake-space' });
  });

  it('finds an unchanged document unchanged', async () => {
    await ingest('old', 'first');
    moveTraffic();
    expect(await ingest('old', 'first')).toMatchObject({ status: 'unchanged', embedded: 0 });
  });

  it('has chunks that fit its own version', async () => {
    world.embedder.model.maxTokens = 40;
    await ingest('old', 'first');
    moveTraffic({ maxTokens: 256 });
    await ingest('old', 'second');
    await ingest('new', 'second');
    const longest = (name: string) =>
      Math.max(...world.vectors.chunks(name).map(({ text }) => fakeTokens(text)));
    expect(longest('old')).toBeLessThan(40);
    expect(longest('new')).toBeGreaterThan(40);
  });

  it('is searched beside one of the new version, each in its own space', async () => {
    await ingest('old', 'first');
    moveTraffic();
    await ingest('new', 'first');
    expect(await infoOf('new')).toMatchObject({ space: 'new-space' });
    const { embedder, vectors, metadata } = world;
    const reranker = { rerank: () => Promise.reject(new Error('not asked')) };
    for (const [collection, space] of Object.entries({ old: 'fake-space', new: 'new-space' })) {
      embedder.spaces.clear();
      const request = { query: 'the harbour', collection, mode: 'dense', rerank: false } as const;
      const { hits } = await search({ embedder, reranker, vectors, metadata }, request);
      expect(hits.map(({ document_id }) => document_id)).toContain('first');
      expect([...embedder.spaces]).toEqual([space]);
    }
  });

  it('refuses documents when its version is served no more, and keeps what it has', async () => {
    await ingest('old', 'first');
    const before = world.vectors.chunks('old');
    moveTraffic({ keepOld: false });
    await expect(ingest('old', 'second')).rejects.toMatchObject({
      reason: 'SPACE_MISMATCH',
      message: expect.stringMatching(/"old".*fake-space.*new-space.*new collection/),
    });
    expect(world.vectors.chunks('old')).toEqual(before);
  });

  it('refuses a version that claims its space with another dimension', async () => {
    await ingest('old', 'first');
    world.embedder.model = { ...world.embedder.model, dimension: 17 };
    await expect(ingest('old', 'second')).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
    expect(documentsOf('old')).toEqual(new Set(['first']));
  });
});

describe('a new collection', () => {
  it('takes the space of the version that answers now, not of one that did before', async () => {
    await ingest('old', 'first');
    moveTraffic();
    await ingest('new', 'first');
    expect(await infoOf('new')).toMatchObject({ space: 'new-space' });
  });

  it('that another document makes meanwhile has the space of that one for both', async () => {
    const entered = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    world.vectors.probe.gate = async (call) => {
      if (call !== 'ensureCollection') return;
      world.vectors.probe = {};
      entered.resolve();
      await release.promise;
    };
    const late = ingest('new', 'late');
    await entered.promise;
    moveTraffic();
    await ingest('new', 'early');
    world.embedder.spaces.clear();
    release.resolve();
    expect(await late).toMatchObject({ status: 'ready' });
    expect(await infoOf('new')).toMatchObject({ space: 'new-space' });
    expect([...world.embedder.spaces]).toEqual(['new-space']);
    expect(documentsOf('new')).toEqual(new Set(['early', 'late']));
  });
});

describe('a version that goes in the middle of a document', () => {
  const onThirdEmbed = (change: () => void) => {
    let calls = 0;
    world.embedder.probe.before = (call) => {
      if (call === 'embed' && ++calls === 3) change();
    };
  };

  it('ends it, with nothing of it left', async () => {
    onThirdEmbed(() => moveTraffic({ keepOld: false }));
    await expect(ingest('old', 'first', story(2_000))).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
    expect(world.vectors.chunks('old')).toEqual([]);
    expect(world.metadata.getDocument('old', 'first')?.revision).toBe('');
  });

  it('does not matter when it only answers no longer by itself', async () => {
    onThirdEmbed(() => moveTraffic());
    expect(await ingest('old', 'first', story(2_000))).toMatchObject({ status: 'ready' });
    expect([...world.embedder.spaces]).toEqual(['fake-space']);
  });

  it('is noticed also when an embedder answers in another space nevertheless', async () => {
    const { embed } = world.embedder;
    onThirdEmbed(() => {
      moveTraffic({ keepOld: false });
      world.embedder.embed = (texts) => embed.call(world.embedder, texts);
    });
    world.embedder.embed = (texts) => embed.call(world.embedder, texts);
    await expect(ingest('old', 'first', story(2_000))).rejects.toMatchObject({
      reason: 'SPACE_MISMATCH',
      message: expect.stringMatching(/fake version 2 answered in the space new-space/),
    });
    expect(world.vectors.chunks('old')).toEqual([]);
  });
});
