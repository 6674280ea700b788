import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RagError } from '../../orchestrator/errors.ts';
import { embeddedText } from '../../orchestrator/ingest/embedded-text.ts';
import type { IngestProgress } from '../../orchestrator/ingest/job-event.ts';
import { newJob } from '../../orchestrator/ingest/new-job.ts';
import type { IngestPipeline, PipelineOptions } from '../../orchestrator/ingest/pipeline.ts';
import type { StagedInput } from '../../orchestrator/ingest/staged-input.ts';
import type { JobItem } from '../../orchestrator/ports.ts';
import { fakeTokens } from './fakes.ts';
import { COLLECTION, openWorld, story, type World } from './ingest-harness.ts';

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

interface IngestCall {
  pipeline?: IngestPipeline;
  signal?: AbortSignal;
  progress?: IngestProgress[];
  leftovers?: string[];
}

/** Ingests as the only item of a job of its own. */
async function ingest(input: StagedInput, call: IngestCall = {}): Promise<JobItem> {
  const job = newJob(COLLECTION, [input]);
  world.metadata.putJob(job);
  const task = { collection: COLLECTION, jobId: job.id, item: job.items[0]!, leftovers: call.leftovers };
  const item = await (call.pipeline ?? world.pipeline()).ingest(task, {
    signal: call.signal ?? new AbortController().signal,
    onProgress: (progress) => call.progress?.push(progress),
  });
  expect(world.metadata.getJob(job.id)?.items[0]).toEqual(item);
  return item;
}

function document(id = 'doc') {
  return world.metadata.getDocument(COLLECTION, id);
}

const named = { documentId: 'doc', title: 'Harbour' };

describe('a new document', () => {
  it('is stored chunk by chunk, then published', async () => {
    const text = story(40);
    const item = await ingest(
      await world.text(text, { ...named, source: 'a.txt', metadata: { year: 1990 } }),
    );
    const chunks = world.vectors.chunks(COLLECTION);
    const record = document();
    expect(item).toMatchObject({
      status: 'ready',
      chunks: chunks.length,
      embedded: chunks.length,
      warnings: [],
    });
    expect(record).toMatchObject({
      status: 'ready',
      title: 'Harbour',
      source: 'a.txt',
      mediaType: 'text/plain',
      chunks: chunks.length,
      metadata: { year: 1990 },
    });
    for (const [ordinal, chunk] of chunks.entries()) {
      expect(chunk).toMatchObject({ ordinal, title: 'Harbour', revision: record?.revision });
      expect(chunk.chunkId).toBe(`doc:${record?.revision}:${ordinal}`);
      expect(chunk.text).toBe(text.slice(chunk.start, chunk.end));
    }
    expect(world.embedder.embedded).toEqual(chunks.map((chunk) => embeddedText('Harbour', chunk.text)));
  });

  it('is known by its own title, else by its file name', async () => {
    await ingest(await world.text('# Own\n\nText.', { documentId: 'a', source: 'x.md', mediaType: '' }));
    await ingest(await world.text('Text.', { documentId: 'b', source: 'dir/the-file.v2.txt' }));
    await ingest(await world.text('Text.', { documentId: 'c' }));
    expect(['a', 'b', 'c'].map((id) => document(id)?.title)).toEqual(['Own', 'the-file.v2', '']);
  });

  it('is cut so that title and chunk fit the model together', async () => {
    const title = 'A long title of words. '.repeat(10).trim();
    world.embedder.model.maxTokens = 100;
    const pipeline = world.pipeline({ chunkTokens: 500 });
    const item = await ingest(await world.text(story(60), { documentId: 'doc', title }), { pipeline });
    expect(item.warnings).toEqual([]);
    for (const text of world.embedder.embedded) expect(fakeTokens(text)).toBeLessThanOrEqual(98);
  });

  it('says when the model leaves the end of chunks out', async () => {
    world.embedder.model.maxTokens = 12;
    const item = await ingest(await world.text(story(10), named));
    expect(item.warnings).toEqual([
      expect.stringMatching(/^\d+ of \d+ chunks were longer than the model reads/),
    ]);
  });

  it('is embedded and stored in bounded batches', async () => {
    const batches: number[] = [];
    const { embed } = world.embedder;
    world.embedder.embed = function (texts, options) {
      batches.push(texts.length);
      return embed.call(this, texts, options);
    };
    const upserts: number[] = [];
    const { upsert } = world.vectors;
    world.vectors.upsert = function (collection, chunks) {
      upserts.push(chunks.length);
      return upsert.call(this, collection, chunks);
    };
    const item = await ingest(await world.text(story(4_000), named));
    expect(item.chunks).toBeGreaterThan(1_200);
    expect(Math.max(...batches)).toBe(64);
    expect(Math.max(...upserts)).toBe(256);
    expect(upserts.reduce((a, b) => a + b)).toBe(item.chunks);
  });

  it('tells how far it is', async () => {
    const progress: IngestProgress[] = [];
    const item = await ingest(await world.text(story(100), named), { progress });
    expect([...new Set(progress.map(({ stage }) => stage))]).toEqual(['read', 'chunk', 'embed', 'store']);
    expect(progress.at(-1)).toEqual({ stage: 'store', done: item.chunks, total: item.chunks });
    for (const { done, total } of progress) expect(done).toBeLessThanOrEqual(total);
  });
});

describe('a document that comes again', () => {
  it('costs nothing when nothing changed', async () => {
    const first = await ingest(await world.text(story(40), { ...named, metadata: { a: 1, b: [2] } }));
    const before = document();
    world.embedder.embedded.length = 0;
    const again = await ingest(await world.text(story(40), { ...named, metadata: { b: [2], a: 1 } }));
    expect(again).toMatchObject({ status: 'unchanged', chunks: first.chunks, embedded: 0 });
    expect(world.embedder.embedded).toEqual([]);
    expect(document()).toEqual(before);
  });

  it.each([
    ['its metadata', {}, { metadata: { new: true } }],
    ['its source', {}, { source: 'renamed.txt' }],
    ['the chunk settings', { chunkOverlapTokens: 9 }, {}],
  ])(
    'gets a new revision, but no new vectors, when only %s changed',
    async (_, options: Partial<PipelineOptions>, input) => {
      await ingest(await world.text(story(40), named));
      const before = document();
      world.embedder.embedded.length = 0;
      const item = await ingest(await world.text(story(40), { ...named, ...input }), {
        pipeline: world.pipeline(options),
      });
      expect(item).toMatchObject({ status: 'ready', embedded: 0 });
      expect(world.embedder.embedded).toEqual([]);
      expect(document()?.revision).not.toBe(before?.revision);
      expect(document()?.createdAt).toBe(before?.createdAt);
      const revisions = new Set(world.vectors.chunks(COLLECTION).map(({ revision }) => revision));
      expect([...revisions]).toEqual([document()?.revision]);
    },
  );

  it('is embedded only where it changed', async () => {
    const text = story(400);
    const first = await ingest(await world.text(text, named));
    world.embedder.embedded.length = 0;
    const item = await ingest(
      await world.text(text.replace('Sentence number 200', 'Sentence NUMBER 200'), named),
    );
    expect(item.embedded).toBeGreaterThan(0);
    expect(item.embedded).toBeLessThan(10);
    expect(item.chunks).toBeGreaterThan(100);
    expect(Math.abs(item.chunks! - first.chunks!)).toBeLessThan(5);
    expect(world.embedder.embedded).toHaveLength(item.embedded!);
    const stored = world.vectors.chunks(COLLECTION);
    expect(stored).toHaveLength(item.chunks!);
    for (const { vector } of stored) expect(Math.hypot(...vector)).toBeCloseTo(1);
  });

  it('takes over the vectors that an interrupted ingest left', async () => {
    const stop = new AbortController();
    world.vectors.probe.after = (call) => {
      if (call === 'upsert') stop.abort(new RagError('STOPPING', 'stop'));
    };
    const staged = await world.text(story(2_000), named);
    await expect(ingest(staged, { signal: stop.signal })).rejects.toMatchObject({ reason: 'STOPPING' });
    world.vectors.probe = {};
    const left = world.vectors.chunks(COLLECTION);
    expect(left).toHaveLength(256);
    expect(document()).toMatchObject({ status: 'pending', revision: '' });

    const item = await ingest(staged, { leftovers: [left[0]!.revision] });
    expect(item.embedded).toBe(item.chunks! - 256);
    expect(world.vectors.chunks(COLLECTION)).toHaveLength(item.chunks!);
  });
});

describe('a model server that is away', () => {
  const away = new RagError('MODEL_SERVER_UNAVAILABLE', 'connection refused');

  it.each(['describe', 'countTokens', 'embed'])('is asked again when it fails to %s', async (failing) => {
    const pauses: number[] = [];
    let failures = 5;
    world.embedder.probe.before = (call) => {
      if (call === failing && failures-- > 0) throw away;
    };
    const sleep = async (ms: number) => void pauses.push(ms);
    const item = await ingest(await world.text(story(20), named), {
      pipeline: world.pipeline({ retry: { sleep } }),
    });
    expect(item.status).toBe('ready');
    expect(pauses).toEqual([250, 500, 1_000, 2_000, 4_000]);
  });

  it('is given about five minutes', async () => {
    let waited = 0;
    world.embedder.probe.before = () => {
      throw away;
    };
    const sleep = async (ms: number) => {
      waited += ms;
    };
    const pipeline = world.pipeline({ retry: { sleep } });
    await expect(ingest(await world.text(story(20), named), { pipeline })).rejects.toMatchObject(away);
    expect(waited).toBeGreaterThan(4 * 60_000);
    expect(waited).toBeLessThan(6 * 60_000);
  });

  it('is not waited for when the ingest is cancelled', async () => {
    const abort = new AbortController();
    world.embedder.probe.before = () => {
      queueMicrotask(() => abort.abort(new RagError('CANCELLED', 'enough')));
      throw away;
    };
    await expect(ingest(await world.text(story(20), named), { signal: abort.signal })).rejects.toMatchObject({
      reason: 'CANCELLED',
    });
  });

  it('is not asked again when it refuses', async () => {
    let calls = 0;
    world.embedder.probe.before = (call) => {
      if (call === 'embed' && ++calls > 0) throw new RagError('MODEL_SERVER_REFUSED', 'no');
    };
    await expect(ingest(await world.text('Short.', named))).rejects.toMatchObject({
      reason: 'MODEL_SERVER_REFUSED',
    });
    expect(calls).toBe(1);
  });
});
