import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { JobRunner } from '../../orchestrator/ingest/jobs.ts';
import { COLLECTION, openWorld, story, type World } from './ingest-harness.ts';

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

async function submit(runner: JobRunner, ...documents: [id: string, text: string][]): Promise<string> {
  const inputs = documents.map(([documentId, text]) => world.text(text, { documentId }));
  return runner.submit(COLLECTION, await Promise.all(inputs)).id;
}

function document(id: string) {
  return world.metadata.getDocument(COLLECTION, id);
}

/** Ingests the documents, and gives back a runner that has not started over the same stores. */
async function restartAfter(...documents: [id: string, text: string][]): Promise<JobRunner> {
  const first = world.runner();
  first.start();
  await first.wait(await submit(first, ...documents));
  await first.close();
  return world.runner();
}

it('goes on with jobs that were queued or running when the program stopped, and pays nothing twice', async () => {
  const reached = Promise.withResolvers<void>();
  world.vectors.probe.after = (call) => {
    if (call === 'upsert') reached.resolve();
  };
  const first = world.runner({ concurrency: 1 });
  first.start();
  const running = await submit(first, ['a', story(2_000)]);
  const queued = await submit(first, ['b', 'Short.']);
  await reached.promise;
  const told = expect(first.wait(running)).rejects.toMatchObject({ reason: 'STOPPING' });
  await first.close();
  await told;
  await first.close();
  expect(() => first.submit(COLLECTION, [])).toThrow(expect.objectContaining({ reason: 'STOPPING' }));

  const stored = world.vectors.chunks(COLLECTION).length;
  world.embedder.embedded.length = 0;
  const next = world.runner();
  await next.recover();
  next.start();
  const [item] = (await next.wait(running)).items;
  expect(stored).toBeGreaterThan(0);
  expect(world.embedder.embedded.length).toBeLessThanOrEqual(item!.chunks! - stored + 1);
  expect((await next.wait(queued)).status).toBe('succeeded');
  expect(world.vectors.chunks(COLLECTION)).toHaveLength(item!.chunks! + 1);
  expect(await world.stagedFiles()).toEqual([]);
});

it('fails an item whose upload is gone, and goes on with the others', async () => {
  const first = world.runner();
  const id = await submit(first, ['a', 'One.'], ['b', 'Two.']);
  const lost = first.get(id)?.items[0]?.stagedFile ?? '';
  await first.close();
  await world.staging.discard(lost);
  const next = world.runner();
  await next.recover();
  next.start();
  const job = await next.wait(id);
  expect(job).toMatchObject({ status: 'partial', items: [{ status: 'failed' }, { status: 'ready' }] });
  expect(job.items[0]?.error).toEqual({
    reason: 'NOT_FOUND',
    message: `The upload of a is gone (staging/${lost}): upload it again.`,
  });
});

it('settles a job whose items were all settled when the program was killed', async () => {
  const next = await restartAfter(['a', 'One.']);
  const job = { ...next.get(await submit(world.runner(), ['b', 'Two.']))!, status: 'running' as const };
  job.items = [{ ...job.items[0]!, status: 'ready' }];
  world.metadata.putJob(job);
  await next.recover();
  expect(next.get(job.id)?.status).toBe('succeeded');
});

it('removes staged files that no job needs, half-written ones too, and nothing else', async () => {
  const first = world.runner();
  const id = await submit(first, ['a', 'One.']);
  await world.text('An upload that never became a job.');
  const part = '01234567-89ab-cdef-0123-456789abcdef.part';
  for (const name of [part, 'notes.txt']) await writeFile(join(world.staging.folder, name), 'x');
  await first.close();
  await world.runner().recover();
  const kept = [first.get(id)?.items[0]?.stagedFile, 'notes.txt'];
  expect((await world.stagedFiles()).toSorted()).toEqual(kept.toSorted());
});

it('removes rows of revisions that no document shows, and of unknown documents', async () => {
  const next = await restartAfter(['a', 'One.']);
  const [row] = world.vectors.chunks(COLLECTION);
  await world.vectors.upsert(COLLECTION, [
    { ...row!, chunkId: 'a:x:0', revision: 'x' },
    { ...row!, chunkId: 'ghost:y:0', documentId: 'ghost', revision: 'y' },
  ]);
  await next.recover();
  expect(world.vectors.chunks(COLLECTION)).toEqual([row]);
});

it('finishes deletions', async () => {
  const next = await restartAfter(['a', 'One.'], ['b', 'Two.']);
  world.metadata.putDocument({ ...document('a')!, status: 'deleting' });
  await next.recover();
  expect(document('a')).toBeUndefined();
  expect(world.vectors.chunks(COLLECTION).map(({ documentId }) => documentId)).toEqual(['b']);
});

it('tells of documents whose vectors are gone, and ingests them anew when they come again', async () => {
  const next = await restartAfter(['a', 'One.']);
  world.vectors.collections.clear();
  await next.recover();
  expect(document('a')).toMatchObject({
    status: 'failed',
    revision: '',
    error: { reason: 'STORE_UNAVAILABLE' },
  });
  next.start();
  await next.wait(await submit(next, ['a', 'One.']));
  expect(document('a')).toMatchObject({ status: 'ready', chunks: 1 });
  expect(document('a')?.error).toBeUndefined();
  expect(world.vectors.chunks(COLLECTION)).toHaveLength(1);
});

it('fails a pending document that no job will go on with', async () => {
  const next = await restartAfter(['a', 'One.']);
  world.metadata.putDocument({ ...document('a')!, id: 'b', revision: '', status: 'pending' });
  await next.recover();
  expect(document('b')).toMatchObject({ status: 'failed', error: { reason: 'NOT_FOUND' } });
  expect(document('a')).toMatchObject({ status: 'ready' });
});

it('changes nothing when there is nothing to do', async () => {
  const next = await restartAfter(['a', 'One.'], ['b', 'Two.']);
  const before = [document('a'), document('b'), world.vectors.chunks(COLLECTION)];
  await next.recover();
  expect([document('a'), document('b'), world.vectors.chunks(COLLECTION)]).toEqual(before);
});
