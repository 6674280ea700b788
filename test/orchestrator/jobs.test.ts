import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RagError } from '../../orchestrator/errors.ts';
import type { JobEvent } from '../../orchestrator/ingest/job-event.ts';
import type { StagedInput } from '../../orchestrator/ingest/staged-input.ts';
import { COLLECTION, openWorld, story, type World } from './ingest-harness.ts';

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

/** Holds the first call of that name back until opened or the call is aborted. */
function gateAt(name: string) {
  const opened = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  world.embedder.probe.gate = async (call, signal) => {
    if (call !== name) return;
    reached.resolve();
    await Promise.race([opened.promise, signal === undefined ? opened.promise : once(signal, 'abort')]);
  };
  return { reached: reached.promise, open: opened.resolve };
}

async function collect(events: AsyncIterable<JobEvent>): Promise<JobEvent[]> {
  const all: JobEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

function visible(id: string): string {
  const revision = world.metadata.visibleRevisions(COLLECTION, [id]).get(id);
  const rows = world.vectors
    .chunks(COLLECTION)
    .filter((row) => row.documentId === id && row.revision === revision);
  return rows.map(({ text }) => text).join('\n');
}

describe('a job', () => {
  it('ingests its documents, and one bad file does not stop the others', async () => {
    const runner = world.runner();
    runner.start();
    const inputs: StagedInput[] = [
      await world.text('The first document.', { documentId: 'a' }),
      await world.text('PK\x03\x04word/document.xml', { documentId: 'bad', source: 'b.docx' }),
      await world.text('The third document.', { documentId: 'c' }),
    ];
    const submitted = runner.submit(COLLECTION, inputs);
    expect(submitted).toMatchObject({ status: 'queued', collection: COLLECTION });
    expect(submitted.items.map(({ status }) => status)).toEqual(['queued', 'queued', 'queued']);
    const job = await runner.wait(submitted.id);
    expect(job.status).toBe('partial');
    expect(job.items.map(({ status }) => status)).toEqual(['ready', 'failed', 'ready']);
    expect(job.items[1]?.error).toEqual({
      reason: 'UNSUPPORTED_MEDIA_TYPE',
      message: expect.stringMatching(/docx/),
    });
    expect(world.metadata.getDocument(COLLECTION, 'bad')).toMatchObject({
      status: 'failed',
      error: job.items[1]?.error,
    });
    expect(visible('a')).toBe('The first document.');
    expect(visible('c')).toBe('The third document.');
    expect(runner.get(job.id)).toEqual({ ...job, updatedAt: expect.any(String) });
    expect(await world.stagedFiles()).toEqual([]);
    await vi.waitFor(() => expect(world.vectors.optimized).toEqual([COLLECTION]), 20_000);
  });

  it('tells everything that happens, in order, to any number of readers', async () => {
    const runner = world.runner();
    const { id } = runner.submit(COLLECTION, [await world.text(story(30), { documentId: 'a' })]);
    const readers = [collect(runner.events(id)), collect(runner.events(id))];
    runner.start();
    const [events, others] = await Promise.all(readers);
    expect(others).toEqual(events);
    const types = events!.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1]);
    expect(types).toEqual(['item_started', 'item_progress', 'item_settled', 'job_settled']);
    expect(events!.at(-1)).toMatchObject({ job: { id, status: 'succeeded', items: [{ status: 'ready' }] } });
    expect((await collect(runner.events(id))).map(({ type }) => type)).toEqual([
      'item_settled',
      'job_settled',
    ]);
  });

  it('tells a late reader what is settled already', async () => {
    const runner = world.runner({ concurrency: 1 });
    const gate = gateAt('embed');
    const first = await world.text('', { documentId: 'empty' });
    const { id } = runner.submit(COLLECTION, [first, await world.text('Text.', { documentId: 'b' })]);
    runner.start();
    await gate.reached;
    const late = collect(runner.events(id));
    gate.open();
    const settled = (await late).filter(({ type }) => type === 'item_settled');
    expect(settled).toMatchObject([{ item: { status: 'failed' } }, { item: { status: 'ready' } }]);
  });

  it('spares a slow reader old progress, and lets it read the end', async () => {
    const runner = world.runner();
    const { id } = runner.submit(COLLECTION, [await world.text(story(4_000), { documentId: 'a' })]);
    const reader = runner.events(id)[Symbol.asyncIterator]();
    const started = reader.next();
    runner.start();
    expect((await started).value).toMatchObject({ type: 'item_started' });
    await runner.wait(id);
    const rest: JobEvent[] = [];
    for (let next = await reader.next(); next.done !== true; next = await reader.next())
      rest.push(next.value);
    expect(rest.map(({ type }) => type)).toEqual(['item_progress', 'item_settled', 'job_settled']);
  });

  it('is refused when too many wait, when it is empty, and when an id is no id', async () => {
    const runner = world.runner({ maxQueuedJobs: 1 });
    const input = await world.text('Text.', { documentId: 'a' });
    expect(() => runner.submit(COLLECTION, [])).toThrow(expect.objectContaining({ reason: 'INVALID_INPUT' }));
    for (const documentId of ['', 'a\nb', 'x'.repeat(513)]) {
      expect(() => runner.submit(COLLECTION, [{ ...input, documentId }])).toThrow(
        expect.objectContaining({ reason: 'INVALID_INPUT' }),
      );
    }
    runner.submit(COLLECTION, [input]);
    expect(() => runner.submit(COLLECTION, [input])).toThrow(
      expect.objectContaining({ reason: 'QUEUE_FULL' }),
    );
  });

  it('can be waited for with a signal, which does not stop it', async () => {
    const runner = world.runner();
    const gate = gateAt('embed');
    runner.start();
    const { id } = runner.submit(COLLECTION, [await world.text('Text.', { documentId: 'a' })]);
    await gate.reached;
    await expect(runner.wait(id, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      reason: 'CANCELLED',
    });
    expect(await collect(runner.events(id, { signal: AbortSignal.abort() }))).toEqual([]);
    gate.open();
    expect((await runner.wait(id)).status).toBe('succeeded');
    await expect(runner.wait('none')).rejects.toMatchObject({ reason: 'NOT_FOUND' });
    expect(() => runner.events('none')).toThrow(expect.objectContaining({ reason: 'NOT_FOUND' }));
  });

  it('keeps a store that cannot take its end from hanging whoever waits', async () => {
    const runner = world.runner();
    world.metadata.probe.before = (call) => {
      if (call !== 'putJob') throw new RagError('STORE_UNAVAILABLE', 'disk full');
    };
    runner.start();
    const { id } = runner.submit(COLLECTION, [await world.text('Text.', { documentId: 'a' })]);
    expect(await runner.wait(id)).toMatchObject({
      status: 'failed',
      items: [{ error: { message: 'disk full' } }],
    });
  });
});

describe('documents at one time', () => {
  async function mostAtOnce(bytes: number, documents: number): Promise<number> {
    const runner = world.runner({ concurrency: 4 });
    let running = 0;
    let most = 0;
    world.embedder.probe.before = (call) => {
      if (call === 'describe') most = Math.max(most, ++running);
    };
    world.metadata.probe.after = (call) => {
      if (call === 'publish') running--;
    };
    const inputs: StagedInput[] = [];
    for (let i = 0; i < documents; i++) inputs.push({ ...(await world.text(`Text ${i}.`)), bytes });
    const { id } = runner.submit(COLLECTION, inputs);
    runner.start();
    expect((await runner.wait(id)).status).toBe('succeeded');
    return most;
  }

  it('are as many as asked for while they are small', async () => {
    expect(await mostAtOnce(1_000, 8)).toBe(4);
  });

  it('are fewer when they are big', async () => {
    expect(await mostAtOnce(15 * 1_048_576, 5)).toBe(2);
    expect(await mostAtOnce(100 * 1_048_576, 3)).toBe(1);
  });
});

describe('two ingests of one document', () => {
  it('do not run at the same time, and the later one wins', async () => {
    const runner = world.runner({ concurrency: 4 });
    let running = 0;
    let most = 0;
    world.embedder.probe.before = (call) => {
      if (call === 'describe') most = Math.max(most, ++running);
    };
    world.metadata.probe.after = (call) => {
      if (call === 'publish') running--;
    };
    const inputs: StagedInput[] = [];
    for (let i = 0; i < 6; i++)
      inputs.push(await world.text(`Version ${i}. ${story(20)}`, { documentId: 'same' }));
    runner.start();
    const jobs = inputs.map((input) => runner.submit(COLLECTION, [input]));
    await Promise.all(jobs.map(({ id }) => runner.wait(id)));
    expect(most).toBe(1);
    expect(visible('same')).toContain('Version 5.');
    expect(world.vectors.chunks(COLLECTION).every(({ text }) => !text.includes('Version 4.'))).toBe(true);
  });

  it('are told apart by id, and files by name', async () => {
    const runner = world.runner();
    runner.start();
    const again = async (text: string, source: string) => {
      const { id } = runner.submit(COLLECTION, [await world.text(text, { source })]);
      return (await runner.wait(id)).items[0]!.documentId;
    };
    const first = await again('One version.', 'a.txt');
    expect(await again('Another version.', 'a.txt')).toBe(first);
    expect(await again('Another version.', 'b.txt')).not.toBe(first);
    expect(visible(first)).toBe('Another version.');
    expect(await again('Bare text.', '')).toBe(await again('Bare text.', ''));
  });
});

describe('deleting a document', () => {
  it('removes it from readers at once, and then everything of it', async () => {
    const runner = world.runner();
    runner.start();
    const { id } = runner.submit(COLLECTION, [await world.text(story(20), { documentId: 'a' })]);
    await runner.wait(id);
    const deleting = runner.deleteDocument(COLLECTION, 'a');
    expect(visible('a')).toBe('');
    expect(await deleting).toBe(true);
    expect(world.vectors.chunks(COLLECTION)).toEqual([]);
    expect(world.metadata.getDocument(COLLECTION, 'a')).toBeUndefined();
    expect(await runner.deleteDocument(COLLECTION, 'a')).toBe(false);
  });

  it('cancels its ingests, those that run and those that wait, and no later ones', async () => {
    const runner = world.runner({ concurrency: 2 });
    const gate = gateAt('embed');
    runner.start();
    const submit = async (text: string) =>
      runner.submit(COLLECTION, [await world.text(text, { documentId: 'a' })]).id;
    const before = [await submit('Running.'), await submit('Waiting for its turn.'), await submit('Queued.')];
    await gate.reached;
    const deleted = runner.deleteDocument(COLLECTION, 'a');
    world.embedder.probe = {};
    const after = await submit('Uploaded after.');
    expect(await deleted).toBe(true);
    for (const id of before) {
      expect((await runner.wait(id)).items[0]).toMatchObject({
        status: 'failed',
        error: { reason: 'CANCELLED' },
      });
    }
    expect((await runner.wait(after)).status).toBe('succeeded');
    expect(visible('a')).toBe('Uploaded after.');
    expect(world.vectors.chunks(COLLECTION)).toHaveLength(1);
  });

  it('leaves nothing behind when only a queued ingest knew the document', async () => {
    const runner = world.runner();
    const { id } = runner.submit(COLLECTION, [await world.text('Text.', { documentId: 'a' })]);
    expect(await runner.deleteDocument(COLLECTION, 'a')).toBe(true);
    expect(await runner.wait(id)).toMatchObject({ status: 'failed' });
    expect(world.metadata.getDocument(COLLECTION, 'a')).toBeUndefined();
  });

  it('stays done for readers when the store is away, and is finished before the document comes back', async () => {
    const runner = world.runner();
    runner.start();
    const submit = async (text: string) =>
      runner.submit(COLLECTION, [await world.text(text, { documentId: 'a' })]).id;
    await runner.wait(await submit('Old text.'));
    world.vectors.probe.before = () => {
      throw new RagError('STORE_UNAVAILABLE', 'away');
    };
    await expect(runner.deleteDocument(COLLECTION, 'a')).rejects.toMatchObject({
      reason: 'STORE_UNAVAILABLE',
    });
    expect(visible('a')).toBe('');
    world.vectors.probe = {};
    await runner.wait(await submit('New text.'));
    expect(world.vectors.chunks(COLLECTION).map(({ text }) => text)).toEqual(['New text.']);
  });
});
