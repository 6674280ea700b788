import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { beforeEach, describe, expect, it } from 'vitest';
import { maxSettledJobs, openSqlite } from '../../orchestrator/adapters/sqlite.ts';
import { killWriter } from './killed-writer.ts';
import { metadataStoreContract } from './metadata-store.contract.ts';
import { document, item, job } from './stored-record.ts';

metadataStoreContract('SQLite', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-sqlite-'));
  const file = join(folder, 'new folder', 'nereid.db');
  let store = openSqlite({ file });
  return {
    store,
    reopen: () => {
      store.close();
      store = openSqlite({ file });
      return store;
    },
    cleanup: () => {
      store.close();
      rmSync(folder, { recursive: true });
    },
  };
});

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nereid-sqlite-'));
  file = join(folder, 'nereid.db');
  return () => rmSync(folder, { recursive: true });
});

describe('SQLite after a kill', () => {
  it('holds everything that was acknowledged, and no half of a publication', async () => {
    let first = 0;
    for (const acknowledged of [1, 20, 150]) {
      const told = await killWriter('metadata', folder, { first, acknowledged });
      first = told.at(-1)! + 2;
      const store = openSqlite({ file });
      for (const number of told) {
        expect(store.getDocument('c', `d${number}`)).toMatchObject({ status: 'ready', revision: 'new' });
        expect(store.getJob(`d${number}`)?.items.map((one) => one.status)).toEqual(['ready', 'queued']);
      }
      for (const { id, status } of store.allRevisions('c')) {
        const own = store.getJob(id);
        if (status === 'ready') expect(own?.items[0]?.status).toBe('ready');
        else expect(own?.items.map((one) => one.status) ?? []).not.toContain('ready');
      }
      store.close();
    }
  });
});

describe('SQLite with a file that it can not use', () => {
  const refused = (text: string) =>
    expect.objectContaining({ reason: 'STORE_UNAVAILABLE', message: expect.stringContaining(text) });

  it('refuses a file that is no database, naming it, and leaves it alone', () => {
    writeFileSync(file, 'just some text that is longer than a header of SQLite, to be sure'.repeat(100));
    expect(() => openSqlite({ file })).toThrow(refused(file));
    expect(() => openSqlite({ file })).toThrow(refused('not a database'));
  });

  it('refuses a newer schema', () => {
    openSqlite({ file }).close();
    const other = new DatabaseSync(file);
    other.exec('PRAGMA user_version = 99');
    other.close();
    expect(() => openSqlite({ file })).toThrow(refused('newer Nereid (schema 99'));
  });

  it("refuses another program's database", () => {
    const other = new DatabaseSync(file);
    other.exec('CREATE TABLE bookmarks (url TEXT)');
    other.close();
    expect(() => openSqlite({ file })).toThrow(refused('another program'));
  });

  it('refuses a folder that can not be made', () => {
    writeFileSync(file, '');
    const below = join(file, 'below', 'nereid.db');
    expect(() => openSqlite({ file: below })).toThrow(refused(below));
  });
});

describe('SQLite with many settled jobs', () => {
  it('keeps the newest, with every unfinished one, and removes the others with their items', () => {
    const store = openSqlite({ file });
    const at = (updatedAt: string) => ({ updatedAt, createdAt: updatedAt });
    store.putJob(job({ id: 'unfinished', ...at('2026-01-01T00:00:00.000Z') }));
    store.putJob(job({ id: 'oldest', status: 'failed', ...at('2026-01-01T00:00:01.000Z') }));
    store.putJob(job({ id: 'old', status: 'partial', ...at('2026-01-01T00:00:02.000Z') }));
    store.putJob(job({ id: 'last', status: 'running' }));
    const other = new DatabaseSync(file);
    other.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${maxSettledJobs - 3})
      INSERT INTO jobs (id, collection, status, created_at, updated_at)
      SELECT 'many' || i, 'c', 'succeeded', '2026-01-02', '2026-01-02' FROM n`);
    store.updateJobItem('unfinished', item({ status: 'running' }), 'running');
    store.updateJobItem('last', item({ status: 'ready' }));
    expect(store.getJob('oldest')).toBeDefined();
    store.updateJobItem('last', item({ status: 'ready' }), 'succeeded');
    expect(store.getJob('oldest')).toBeDefined();
    store.putJob(job({ id: 'next', status: 'failed', ...at('2026-01-03T00:00:00.000Z') }));
    expect(store.getJob('oldest')).toBeUndefined();
    for (const id of ['unfinished', 'old', 'last', 'next', 'many1']) expect(store.getJob(id)).toBeDefined();
    const items = other.prepare("SELECT count(*) AS total FROM job_items WHERE job_id = 'oldest'").get();
    expect(items?.total).toBe(0);
    other.close();
    store.close();
  });
});

describe('SQLite shared by two', () => {
  it('shows one what the other has written', () => {
    const one = openSqlite({ file });
    const two = openSqlite({ file });
    one.putJob(job());
    two.updateJobItem('job', item({ status: 'running' }), 'running');
    one.publish(document(), { jobId: 'job', item: item({ status: 'ready' }) });
    expect(two.getJob('job')).toMatchObject({ status: 'running', items: [{ status: 'ready' }] });
    one.close();
    two.close();
  });
});
