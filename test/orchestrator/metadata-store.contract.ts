import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { MetadataStore } from '../../orchestrator/ports.ts';
import { document, item, job } from './stored-record.ts';

/** One opened store under test. */
export interface MetadataStoreHarness {
  store: MetadataStore;
  /** Closes the store and opens it again on the same data. */
  reopen(): MetadataStore;
  /** Closes the store and removes what it kept. */
  cleanup(): void;
}

interface Subject {
  store: MetadataStore;
  reopen(): MetadataStore;
}

/** Runs what every MetadataStore must do; each test has a store of its own. */
export function metadataStoreContract(name: string, open: () => MetadataStoreHarness): void {
  describe(`${name}: metadata store contract`, () => {
    let harness: MetadataStoreHarness;
    const subject: Subject = { store: {} as MetadataStore, reopen: () => harness.reopen() };
    beforeEach(() => {
      harness = open();
      subject.store = harness.store;
    });
    afterEach(() => harness.cleanup());
    describe('documents', () => documentTests(subject));
    describe('lists of documents', () => listTests(subject));
    describe('jobs', () => jobTests(subject));
    describe('publishing', () => publishTests(subject));
  });
}

function documentTests(subject: Subject): void {
  it('gives back exactly what was put, with and without the optional fields', () => {
    const full = document({
      id: 'full',
      pages: 0,
      error: { reason: 'DOCUMENT_UNREADABLE', message: 'line 1\nline 2' },
      metadata: { author: 'Ä', list: [1, null, { deep: true }] },
    });
    subject.store.putDocument(full);
    subject.store.putDocument(document());
    expect(subject.store.getDocument('c', 'full')).toStrictEqual(full);
    expect(subject.store.getDocument('c', 'doc')).toStrictEqual(document());
    expect(subject.store.getDocument('other', 'doc')).toBeUndefined();
    expect(subject.store.getDocument('c', 'none')).toBeUndefined();
  });

  it('replaces by collection and id, clearing what is no longer there', () => {
    const { store } = subject;
    store.putDocument(document({ pages: 4, error: { reason: 'INTERNAL', message: 'x' } }));
    store.putDocument(document({ collection: 'd', title: 'Other' }));
    store.putDocument(document({ title: 'New' }));
    expect(store.getDocument('c', 'doc')).toStrictEqual(document({ title: 'New' }));
    expect(store.getDocument('d', 'doc')?.title).toBe('Other');
    expect(store.listDocuments(undefined, { limit: 10, offset: 0 }).total).toBe(2);
  });

  it('removes a document, twice without complaint', () => {
    const { store } = subject;
    store.putDocument(document());
    store.putDocument(document({ collection: 'd' }));
    store.removeDocument('c', 'doc');
    store.removeDocument('c', 'doc');
    expect(store.getDocument('c', 'doc')).toBeUndefined();
    expect(store.getDocument('d', 'doc')).toBeDefined();
  });

  it('takes ids of any characters', () => {
    const { store } = subject;
    const ids = [
      "o'clock",
      "' OR 1=1 --",
      '"q"',
      '%_*',
      'naïve 日本 🙂',
      '',
      ' ',
      'tab\tline\n',
      '\u0000x',
      'a\\b',
    ];
    for (const id of ids) store.putDocument(document({ id, title: id, revision: `rev ${id}` }));
    for (const id of ids)
      expect(store.getDocument('c', id)).toStrictEqual(document({ id, title: id, revision: `rev ${id}` }));
    expect(store.visibleRevisions('c', ids)).toEqual(new Map(ids.map((id) => [id, `rev ${id}`])));
    for (const id of ids) store.removeDocument('c', id);
    expect(store.allRevisions('c')).toEqual([]);
  });

  it('keeps everything when it is closed and opened again', () => {
    subject.store.putDocument(document());
    subject.store.putJob(job());
    subject.store = subject.reopen();
    expect(subject.store.getDocument('c', 'doc')).toStrictEqual(document());
    expect(subject.store.getJob('job')).toStrictEqual(job());
  });

  it('says so when it is used after close', () => {
    subject.store.close();
    subject.store.close();
    expect(() => subject.store.getDocument('c', 'doc')).toThrow(
      expect.objectContaining({ reason: 'STOPPING' }),
    );
  });
}

function listTests(subject: Subject): void {
  it('tells the visible revisions only', () => {
    const { store } = subject;
    store.putDocument(document({ id: 'ready' }));
    store.putDocument(document({ id: 'new', status: 'pending', revision: '' }));
    store.putDocument(document({ id: 'again', status: 'pending', revision: 'old' }));
    store.putDocument(document({ id: 'failed', status: 'failed', revision: 'old' }));
    store.putDocument(document({ id: 'never', status: 'failed', revision: '' }));
    store.putDocument(document({ id: 'going', status: 'deleting' }));
    store.putDocument(document({ id: 'ready', collection: 'd', revision: 'other' }));
    const ids = ['ready', 'new', 'again', 'failed', 'never', 'going', 'unknown', 'ready'];
    expect([...store.visibleRevisions('c', ids)].sort()).toEqual([
      ['again', 'old'],
      ['failed', 'old'],
      ['ready', 'r1'],
    ]);
    expect(store.visibleRevisions('c', [])).toEqual(new Map());
    const many = Array.from({ length: 50_000 }, (_, index) => `d${index}`);
    expect(store.visibleRevisions('c', [...many, 'ready'])).toEqual(new Map([['ready', 'r1']]));
  });

  it('lists newest first, page by page', () => {
    const { store } = subject;
    const at = (minute: number) => `2026-01-01T00:0${minute}:00.000Z`;
    for (const [id, minute] of [
      ['b', 2],
      ['d', 4],
      ['a', 1],
      ['c', 3],
    ] as const) {
      store.putDocument(document({ id, createdAt: at(minute) }));
    }
    store.putDocument(document({ id: 'e', collection: 'other', createdAt: at(4) }));
    const list = (collection: string | undefined, limit: number, offset: number) => {
      const { documents, total } = store.listDocuments(collection, { limit, offset });
      return `${documents.map((one) => one.id).join('')} of ${total}`;
    };
    expect(list('c', 3, 0)).toBe('dcb of 4');
    expect(list('c', 3, 3)).toBe('a of 4');
    expect(list('c', 3, 9)).toBe(' of 4');
    expect(list(undefined, 2, 0)).toBe('ed of 5');
    expect(list('none', 5, 0)).toBe(' of 0');
  });

  it('tells every revision of a collection, whatever its state', () => {
    const { store } = subject;
    store.putDocument(document({ id: 'x', status: 'deleting' }));
    store.putDocument(document({ id: 'y', revision: '', status: 'pending' }));
    store.putDocument(document({ id: 'z', collection: 'd' }));
    expect(store.allRevisions('c')).toEqual([
      { id: 'x', revision: 'r1', status: 'deleting' },
      { id: 'y', revision: '', status: 'pending' },
    ]);
  });
}

function jobTests(subject: Subject): void {
  it('gives back exactly what was put, items in order', () => {
    const full = item({
      index: 1,
      status: 'failed',
      error: { reason: 'TOO_LARGE', message: 'too large' },
      chunks: 0,
      embedded: 0,
      pages: 2,
      warnings: ['one', 'two'],
      metadata: { tags: ['x'] },
    });
    const many = job({
      items: [full, item(), ...Array.from({ length: 12 }, (_, i) => item({ index: i + 2 }))],
    });
    subject.store.putJob(many);
    const sorted = { ...many, items: many.items.toSorted((a, b) => a.index - b.index) };
    expect(subject.store.getJob('job')).toStrictEqual(sorted);
    expect(subject.store.getJob('none')).toBeUndefined();
  });

  it('replaces a whole job', () => {
    subject.store.putJob(job({ items: [item(), item({ index: 1 })] }));
    subject.store.putJob(job({ status: 'running', items: [item({ status: 'ready' })] }));
    expect(subject.store.getJob('job')).toStrictEqual(
      job({ status: 'running', items: [item({ status: 'ready' })] }),
    );
  });

  it('replaces one item, and the status only when it is given', () => {
    const { store } = subject;
    store.putJob(job({ items: [item(), item({ index: 1 })] }));
    store.updateJobItem('job', item({ index: 1, status: 'ready', chunks: 5 }), 'running');
    expect(store.getJob('job')).toMatchObject({
      status: 'running',
      items: [item(), { index: 1, status: 'ready', chunks: 5 }],
    });
    store.updateJobItem('job', item({ index: 1, status: 'failed' }));
    const after = store.getJob('job')!;
    expect(after).toMatchObject({ status: 'running', items: [item(), item({ index: 1, status: 'failed' })] });
    expect(after.items[1]).not.toHaveProperty('chunks');
    expect(after.updatedAt > after.createdAt).toBe(true);
  });

  it('refuses to update an item that does not exist', () => {
    subject.store.putJob(job());
    const missing = expect.objectContaining({ reason: 'NOT_FOUND' });
    expect(() => subject.store.updateJobItem('job', item({ index: 7 }))).toThrow(missing);
    expect(() => subject.store.updateJobItem('none', item())).toThrow(missing);
    expect(subject.store.getJob('job')).toStrictEqual(job());
  });

  it('tells unfinished jobs, oldest first', () => {
    const { store } = subject;
    const at = (minute: number) => ({ createdAt: `2026-01-01T00:0${minute}:00.000Z` });
    store.putJob(job({ id: 'late', ...at(3) }));
    store.putJob(job({ id: 'early', status: 'running', ...at(1) }));
    for (const status of ['succeeded', 'failed', 'partial'] as const)
      store.putJob(job({ id: status, status, ...at(2) }));
    expect(store.countUnfinishedJobs()).toBe(2);
    expect(store.unfinishedJobs().map((one) => one.id)).toEqual(['early', 'late']);
    expect(store.unfinishedJobs()[0]).toStrictEqual(job({ id: 'early', status: 'running', ...at(1) }));
  });
}

function publishTests(subject: Subject): void {
  it('makes a revision visible and settles the item together', () => {
    const { store } = subject;
    store.putJob(job({ status: 'running' }));
    store.publish(document({ revision: 'r2' }), { jobId: 'job', item: item({ status: 'ready', chunks: 3 }) });
    expect(store.visibleRevisions('c', ['doc'])).toEqual(new Map([['doc', 'r2']]));
    expect(store.getJob('job')?.items).toEqual([item({ status: 'ready', chunks: 3 })]);
    store.publish(document({ revision: 'r3' }));
    expect(store.visibleRevisions('c', ['doc'])).toEqual(new Map([['doc', 'r3']]));
  });

  it('does neither when the item can not be settled', () => {
    const { store } = subject;
    store.putDocument(document());
    expect(() => store.publish(document({ revision: 'r2' }), { jobId: 'none', item: item() })).toThrow();
    expect(store.getDocument('c', 'doc')).toStrictEqual(document());
    store.publish(document({ revision: 'r3' }));
    expect(store.visibleRevisions('c', ['doc'])).toEqual(new Map([['doc', 'r3']]));
  });
}
