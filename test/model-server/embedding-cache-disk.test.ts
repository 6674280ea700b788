import { readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DiskTier, type DiskTierOptions } from '../../model-server/models/embedding-cache/disk-tier.ts';
import type { EmbeddedText } from '../../model-server/models/embedding-cache/embedded-text.ts';
import { temporaryFolder } from './repository.ts';

let folder: ReturnType<typeof temporaryFolder>;
const opened: DiskTier[] = [];
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => {
  for (const tier of opened.splice(0)) tier.close();
  folder.remove();
});

const file = () => join(folder.path, 'embeddings.sqlite');
const text = (value: number, floats = 384): EmbeddedText => ({
  vector: Float32Array.from({ length: floats }, (_, at) => value + at / 1000),
  tokens: 300 + value,
  tokensUsed: 256,
  truncated: true,
  cached: false,
});

/** A tier whose clock and timer a test moves by hand. */
function open(more: Partial<DiskTierOptions> = {}) {
  const logged: string[] = [];
  const log = (_fields: object, message: string) => void logged.push(message);
  const clock = { nowMs: 1_000_000 };
  let due: (() => void) | undefined;
  const tier = new DiskTier({
    folder: folder.path,
    limitBytes: 1e9,
    ttlMs: 0,
    log: { warn: log, error: log } as never,
    nowMs: () => clock.nowMs,
    after: (_delayMs, task) => {
      due = task;
      return () => {
        due = undefined;
      };
    },
    ...more,
  });
  opened.push(tier);
  /** Lets the timer go off until nothing waits any more; returns how often it did. */
  const flush = () => {
    let times = 0;
    for (let task = due; task !== undefined; task = due, times++) {
      due = undefined;
      task();
    }
    return times;
  };
  return { tier, logged, clock, flush };
}

it('has after a restart what it was given before, to the bit', () => {
  const { tier } = open();
  tier.set('a', 's', text(1));
  tier.set('empty', 's', text(2, 0));
  tier.close();
  const { tier: again, logged } = open();
  expect(again.get('a', 's')).toEqual({ text: { ...text(1), cached: true }, leftMs: undefined });
  expect(again.get('empty', 's')!.text.vector).toHaveLength(0);
  expect(again.get('b', 's')).toBeUndefined();
  expect(logged).toEqual([]);
});

it('writes in batches, a little later, and knows what waits to be written', () => {
  const { tier, flush } = open();
  for (let at = 0; at < 300; at++) tier.set(`key ${at}`, 's', text(at));
  expect(tier.get('key 7', 's')!.text.tokens).toBe(307);
  const before = tier.bytes;
  expect(flush()).toBe(3);
  expect(tier.bytes).toBeGreaterThan(before);
  expect(tier.get('key 299', 's')!.text).toMatchObject({ tokens: 599, truncated: true });
});

it('does not let more wait than can be written soon', () => {
  const { tier, flush } = open();
  for (let at = 0; at < 5000; at++) tier.set(`key ${at}`, 's', text(at, 4));
  flush();
  expect(tier.get('key 4095', 's')).toBeDefined();
  expect(tier.get('key 4096', 's')).toBeUndefined();
});

it('gives nothing that is too old, or from the future, and says how long the rest may stay', () => {
  const { tier, clock, flush } = open({ ttlMs: 1000 });
  tier.set('a', 's', text(1));
  flush();
  clock.nowMs += 400;
  expect(tier.get('a', 's')!.leftMs).toBe(600);
  clock.nowMs += 600;
  expect(tier.get('a', 's')).toBeUndefined();
  clock.nowMs -= 1001;
  expect(tier.get('a', 's')).toBeUndefined();
});

describe('when its size is needed', () => {
  /** Fills with a hundred vectors of a space at a time. */
  function fill(made: ReturnType<typeof open>, space: string, from: number, count: number): void {
    for (let at = from; at < from + count; at += 100) {
      for (let one = at; one < at + 100; one++) made.tier.set(`${space} ${one}`, space, text(one));
      made.flush();
    }
  }
  const has = ({ tier }: ReturnType<typeof open>, space: string, from: number, count: number) =>
    Array.from({ length: count }, (_, at) => tier.get(`${space} ${from + at}`, space)).filter(Boolean).length;

  it('drops the oldest, and stays within its limit', () => {
    const limitBytes = 2_000_000;
    const made = open({ limitBytes });
    fill(made, 's', 0, 3000);
    expect(made.tier.bytes).toBeLessThanOrEqual(limitBytes);
    expect(statSync(file()).size).toBeLessThanOrEqual(limitBytes);
    expect(has(made, 's', 0, 1000)).toBe(0);
    expect(has(made, 's', 2900, 100)).toBe(100);
    expect(has(made, 's', 0, 3000)).toBeGreaterThan(700);
  });

  it('drops other spaces first, however young', () => {
    const before = open();
    fill(before, 'old', 0, 100);
    fill(before, 'other', 0, 400);
    before.tier.close();
    const made = open({ limitBytes: 1_500_000 });
    expect(has(made, 'old', 0, 100)).toBe(100);
    fill(made, 'new', 0, 700);
    expect(has(made, 'old', 0, 100)).toBe(100);
    expect(has(made, 'new', 0, 700)).toBe(700);
    const database = new DatabaseSync(file());
    const left = database.prepare('SELECT space FROM spaces').all();
    database.close();
    expect(left.map(({ space }) => space)).toEqual(['old', 'new']);
  });

  it('shrinks to a limit that has become smaller', () => {
    const before = open();
    fill(before, 's', 0, 3000);
    before.tier.close();
    const made = open({ limitBytes: 1_000_000 });
    fill(made, 's', 3000, 6000);
    made.tier.close();
    expect(statSync(file()).size).toBeLessThanOrEqual(1_000_000);
  });
});

describe('what is wrong with the file', () => {
  const aside = () => readdirSync(folder.path).filter((name) => name.includes('set-aside'));
  const expectAnew = ({ tier, logged, flush }: ReturnType<typeof open>) => {
    expect(logged).toEqual([expect.stringMatching(/set aside as .*embeddings\.sqlite\.set-aside-1000000/)]);
    expect(aside()).toHaveLength(1);
    tier.set('new', 's', text(9));
    flush();
    tier.close();
    expect(open().tier.get('new', 's')!.text.tokens).toBe(309);
  };

  it('is no database: it is set aside', () => {
    writeFileSync(file(), 'a note that somebody keeps here. '.repeat(1000));
    expectAnew(open());
  });

  it("is another program's database: it is set aside", () => {
    const other = new DatabaseSync(file());
    other.exec('CREATE TABLE notes (text TEXT); PRAGMA user_version = 1');
    other.close();
    expectAnew(open());
  });

  it('is torn: it is set aside as soon as that is seen', () => {
    const before = open();
    for (let at = 0; at < 1000; at++) before.tier.set(`key ${at}`, 's', text(at));
    before.tier.close();
    truncateSync(file(), Math.floor(statSync(file()).size / 16_384) * 8192);
    const made = open();
    const found = Array.from({ length: 1000 }, (_, at) => made.tier.get(`key ${at}`, 's'));
    // What was read before the tear was met is right.
    found.forEach((one, at) => {
      if (one !== undefined) expect(one.text.vector).toEqual(text(at).vector);
    });
    expectAnew(made);
  });

  it('is a bit that has changed: the vector is computed again, the others are not', () => {
    const before = open();
    for (const at of [1, 2]) before.tier.set(`key ${at}`, 's', text(at));
    before.tier.close();
    const database = new DatabaseSync(file());
    database.exec("UPDATE embeddings SET vector = zeroblob(1536) WHERE key = 'key 1'");
    database.close();
    const { tier, logged } = open();
    expect(tier.get('key 1', 's')).toBeUndefined();
    expect(tier.get('key 2', 's')).toBeDefined();
    expect(logged).toEqual([]);
  });

  it('is that there can be none: it is said once, and nothing is kept', () => {
    writeFileSync(join(folder.path, 'occupied'), '');
    const { tier, logged, flush } = open({ folder: join(folder.path, 'occupied') });
    tier.set('a', 's', text(1));
    expect(flush()).toBe(0);
    expect(tier.get('a', 's')).toBeUndefined();
    expect(tier.bytes).toBe(0);
    expect(logged).toEqual([expect.stringMatching(/occupied.*Nothing is kept on disk/)]);
  });

  it('is that another writes to it: what is to be written now is forgotten, and reading goes on', () => {
    const { tier, logged, flush } = open();
    tier.set('a', 's', text(1));
    flush();
    const other = new DatabaseSync(file());
    other.exec('BEGIN IMMEDIATE');
    for (const key of ['b', 'c']) {
      tier.set(key, 's', text(2));
      flush();
    }
    expect(tier.get('a', 's')).toBeDefined();
    expect(tier.get('b', 's')).toBeUndefined();
    expect(logged).toEqual([expect.stringMatching(/locked/)]);
    other.exec('COMMIT');
    other.close();
    tier.set('d', 's', text(3));
    flush();
    expect(tier.get('d', 's')).toBeDefined();
    expect(aside()).toEqual([]);
  });
});
