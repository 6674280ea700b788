import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RagError } from '../../orchestrator/errors.ts';
import type { JobRunner } from '../../orchestrator/ingest/jobs.ts';
import type { Probe } from './fakes.ts';
import { COLLECTION, openWorld, story, type World } from './ingest-harness.ts';

/** Small enough that every call can be made to fail in turn, big enough for two batches of the store. */
const OLD = story(300);
const NEW = story(300, 'lighthouse');

const SMALL = { chunkTokens: 30, chunkOverlapTokens: 0 };

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

function setProbe(probe: Probe): void {
  world.embedder.probe = probe;
  world.vectors.probe = probe;
  world.metadata.probe = probe;
}

/** The text that readers see of the document: 'old', 'new' or 'none'; anything half is an error. */
function seen(): 'old' | 'new' | 'none' {
  const record = world.metadata.getDocument(COLLECTION, 'doc');
  const revision = world.metadata.visibleRevisions(COLLECTION, ['doc']).get('doc');
  if (record === undefined || revision === undefined) return 'none';
  const rows = world.vectors.chunks(COLLECTION).filter((row) => row.revision === revision);
  expect(rows).toHaveLength(record.chunks);
  expect(rows.map(({ ordinal }) => ordinal)).toEqual(rows.map((_, i) => i));
  const text = rows.at(-1)!.end === OLD.length ? OLD : NEW;
  for (const row of rows) expect(text.slice(row.start, row.end)).toBe(row.text);
  return text === OLD ? 'old' : 'new';
}

/** Nothing is stored that nobody sees, and nothing staged. */
async function expectTidy(): Promise<void> {
  const revision = world.metadata.visibleRevisions(COLLECTION, ['doc']).get('doc');
  const revisions = new Set(world.vectors.chunks(COLLECTION).map((row) => row.revision));
  expect([...revisions]).toEqual(revision === undefined ? [] : [revision]);
  expect(await world.stagedFiles()).toEqual([]);
  expect(world.metadata.unfinishedJobs()).toEqual([]);
}

async function submit(runner: JobRunner, text: string): Promise<string> {
  return runner.submit(COLLECTION, [await world.text(text, { documentId: 'doc' })]).id;
}

/** Ingests the document as it was before, until nothing runs any more. */
async function ingestOld(runner: JobRunner): Promise<void> {
  const optimized = world.vectors.optimized.length;
  await runner.wait(await submit(runner, OLD));
  await vi.waitFor(() => expect(world.vectors.optimized).toHaveLength(optimized + 1), 20_000);
}

/** Counts calls, and at the chosen one throws: once, or from then on, as if the program had been killed there. */
function faultAt(chosen: number, side: 'before' | 'after', forGood: boolean): Probe & { calls: string[] } {
  const calls: string[] = [];
  const probe: Probe & { calls: string[] } = { calls };
  let dead = false;
  const fail = (call: string) => {
    dead = forGood;
    throw new RagError('STORE_UNAVAILABLE', `fault ${side} ${call}`);
  };
  probe.before = (call) => {
    if (dead) fail(call);
    calls.push(call);
    if (side === 'before' && calls.length === chosen) fail(call);
  };
  probe.after = (call) => {
    if (side === 'after' && calls.length === chosen) fail(call);
  };
  return probe;
}

/** Calls that an ingest of NEW over OLD makes, counted from its start. */
async function callsOfUpdate(): Promise<string[]> {
  const counting = await openWorld();
  const runner = counting.runner(SMALL);
  runner.start();
  const input = (text: string) => counting.text(text, { documentId: 'doc' });
  await runner.wait(runner.submit(COLLECTION, [await input(OLD)]).id);
  await vi.waitFor(() => expect(counting.vectors.optimized).toHaveLength(1), 20_000);
  const probe = faultAt(0, 'before', false);
  const { id } = runner.submit(COLLECTION, [await input(NEW)]);
  for (const port of [counting.embedder, counting.vectors, counting.metadata]) port.probe = probe;
  await runner.wait(id);
  await counting.close();
  return probe.calls.filter((call) => call !== 'optimize');
}

const calls = await callsOfUpdate();

/** Numbers of the calls to fail on that side; calls that change nothing have no after. */
function chosenCalls(side: 'before' | 'after'): number[] {
  const reads = ['describe', 'getCollection', 'countTokens', 'vectorsByHash'];
  return calls.flatMap((call, i) => (side === 'after' && reads.includes(call) ? [] : [i + 1]));
}

describe('an update that fails at one call', () => {
  it('makes the calls that are failed here', () => {
    const kinds =
      'updateJobItem getCollection describe countTokens vectorsByHash embed upsert publish deleteDocument';
    expect([...new Set(calls)]).toEqual(kinds.split(' '));
    expect(calls.filter((call) => call === 'upsert')).toHaveLength(2);
  });

  it.each(['before', 'after'] as const)(
    'leaves the old document, or the new one whole, and the job is told (failed %s it)',
    { timeout: 120_000 },
    async (side) => {
      for (const chosen of chosenCalls(side)) {
        const runner = world.runner(SMALL);
        runner.start();
        await ingestOld(runner);
        const id = await submit(runner, NEW);
        setProbe(faultAt(chosen, side, false));
        const job = await runner.wait(id);
        await runner.close();
        setProbe({});
        expect(seen()).toBe(job.status === 'succeeded' ? 'new' : 'old');
        if (job.status === 'failed') expect(job.items[0]?.error?.message).toMatch(/^fault/);

        const next = world.runner(SMALL);
        await next.recover();
        await expectTidy();
        next.start();
        await next.wait(await submit(next, NEW));
        expect(seen()).toBe('new');
        await next.close();
        await reset();
      }
    },
  );
});

describe('a program that is killed at one call', () => {
  it.each(['before', 'after'] as const)(
    'goes on with the document at its next start (killed %s it)',
    { timeout: 240_000 },
    async (side) => {
      for (const chosen of chosenCalls(side)) {
        const runner = world.runner(SMALL);
        runner.start();
        await ingestOld(runner);
        const id = await submit(runner, NEW);
        const probe = faultAt(chosen, side, true);
        setProbe(probe);
        await runner.wait(id).catch(() => {});
        await runner.close();
        setProbe({});
        const published =
          probe.calls.includes('publish') && (probe.calls.at(-1) !== 'publish' || side === 'after');
        expect(`${probe.calls.at(-1)}: ${seen()}`).toBe(
          `${probe.calls.at(-1)}: ${published ? 'new' : 'old'}`,
        );

        const next = world.runner(SMALL);
        await next.recover();
        expect(seen()).toBe(published ? 'new' : 'old');
        next.start();
        expect((await next.wait(id)).status).toBe('succeeded');
        expect(seen()).toBe('new');
        await next.close();
        await expectTidy();
        await reset();
      }
    },
  );
});

/** The world without its document. */
async function reset(): Promise<void> {
  const runner = world.runner(SMALL);
  expect(await runner.deleteDocument(COLLECTION, 'doc')).toBe(true);
  await runner.close();
  await expectTidy();
}
