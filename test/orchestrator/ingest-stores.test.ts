import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openLanceDb } from '../../orchestrator/adapters/lancedb.ts';
import { openSqlite } from '../../orchestrator/adapters/sqlite.ts';
import { RagError } from '../../orchestrator/errors.ts';
import type { MetadataStore, VectorStore } from '../../orchestrator/ports.ts';
import { fakeVector } from './fakes.ts';
import { COLLECTION, openWorld, story, type World } from './ingest-harness.ts';

let folder: string;
let world: World<VectorStore, MetadataStore>;

async function open(): Promise<World<VectorStore, MetadataStore>> {
  const vectors = await openLanceDb({ folder: join(folder, 'vectors') });
  return openWorld({ vectors, metadata: openSqlite({ file: join(folder, 'metadata.db') }), folder });
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nereid-stores-'));
  world = await open();
});

afterEach(async () => {
  await closeWorld();
  await rm(folder, { recursive: true, force: true });
});

async function closeWorld(): Promise<void> {
  await world.close();
  await world.vectors.close();
  world.metadata.close();
}

async function ingest(text: string, documentId: string): Promise<void> {
  const runner = world.runner();
  runner.start();
  const { id } = runner.submit(COLLECTION, [await world.text(text, { documentId, title: documentId })]);
  expect((await runner.wait(id)).status).toBe('succeeded');
  await runner.close();
}

async function found(query: string): Promise<string[]> {
  const hits = await world.vectors.searchText(COLLECTION, query, 50);
  const visible = world.metadata.visibleRevisions(
    COLLECTION,
    hits.map(({ documentId }) => documentId),
  );
  return hits
    .filter((hit) => visible.get(hit.documentId) === hit.revision)
    .map(({ documentId }) => documentId);
}

it('ingests, finds, replaces and deletes with the real stores', async () => {
  await ingest(`The heron stands still. ${story(60)}`, 'birds');
  await ingest('A lighthouse keeper writes letters.', 'letters');
  expect(await found('herons')).toEqual(['birds']);
  const [nearest] = await world.vectors.searchDense(COLLECTION, fakeVector('letters lighthouse keeper'), 1);
  expect(nearest).toMatchObject({ documentId: 'letters', text: 'A lighthouse keeper writes letters.' });

  world.embedder.embedded.length = 0;
  await ingest(`The pelican stands still. ${story(60)}`, 'birds');
  expect(world.embedder.embedded.length).toBeLessThan(5);
  expect(await found('heron')).toEqual([]);
  expect(await found('pelican')).toEqual(['birds']);
  const revisions = await world.vectors.listRevisions(COLLECTION);
  expect(revisions.map(({ documentId }) => documentId).toSorted()).toEqual(['birds', 'letters']);

  const runner = world.runner();
  expect(await runner.deleteDocument(COLLECTION, 'birds')).toBe(true);
  expect(await found('pelican')).toEqual([]);
  expect((await world.vectors.listRevisions(COLLECTION)).map(({ documentId }) => documentId)).toEqual([
    'letters',
  ]);
});

it('goes on after a stop in the middle of a document, in a new process as it were', async () => {
  await ingest('Old words of the heron.', 'birds');
  const stop = new AbortController();
  const { upsert } = world.vectors;
  world.vectors.upsert = async function (collection, chunks) {
    await upsert.call(this, collection, chunks);
    stop.abort(new RagError('STOPPING', 'killed'));
  };
  const runner = world.runner();
  const { id, items } = runner.submit(COLLECTION, [await world.text(story(1_800), { documentId: 'birds' })]);
  const task = { collection: COLLECTION, jobId: id, item: items[0]! };
  await expect(world.pipeline().ingest(task, { signal: stop.signal })).rejects.toMatchObject({
    reason: 'STOPPING',
  });
  expect(await world.vectors.listRevisions(COLLECTION)).toHaveLength(2);
  expect(await found('heron')).toEqual(['birds']);
  expect(await found('tide')).toEqual([]);

  await closeWorld();
  world = await open();
  const next = world.runner();
  await next.recover();
  next.start();
  const job = await next.wait(id);
  expect(job.items[0]).toMatchObject({ status: 'ready' });
  expect(job.items[0]!.embedded).toBe(job.items[0]!.chunks! - 256);
  expect(await found('tide')).toContain('birds');
  expect(await found('heron')).toEqual([]);
  expect(await world.vectors.listRevisions(COLLECTION)).toHaveLength(1);
});
