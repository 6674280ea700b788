import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cacheFolder } from '../../model-server/models/layout/cache-folder.ts';
import { LayoutCache } from '../../model-server/models/layout/layout-cache.ts';
import { layoutKey } from '../../model-server/models/layout/layout-key.ts';
import { temporaryFolder } from './repository.ts';

let place: ReturnType<typeof temporaryFolder>;
let folder: string;
let told: string[];
beforeEach(() => {
  place = temporaryFolder();
  folder = join(place.path, 'cache/nereid');
  told = [];
});
afterEach(() => place.remove());

const log = { debug: (_: object, text: string) => void told.push(text) } as never;
const open = () => new LayoutCache(folder, log);
const file = () => join(folder, 'layouts.json');
const measured = (lone = 2, date = '2026-01-02T03:04:05.000Z') => ({
  layout: { instances: 2, threads: 1, lone },
  evidence: 'figures',
  date,
});

describe('remembered layouts', () => {
  it("outlive the server, in a folder that is nobody else's", async () => {
    expect(await open().find('a')).toBeUndefined();
    expect(told).toEqual([]);
    await open().remember('a', measured());
    expect(await open().find('a')).toEqual(measured());
    expect(await open().find('b')).toBeUndefined();
    expect(await open().find('toString')).toBeUndefined();
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(file()).mode & 0o777).toBe(0o600);
  });

  it('of several models that are loaded at once are all kept, and the newer one of each', async () => {
    const cache = open();
    const names = ['a', 'b', 'c', 'd'];
    await Promise.all(names.map((name, index) => cache.remember(name, measured(index + 2))));
    await cache.remember('b', measured(64));
    for (const [index, name] of names.entries())
      expect((await open().find(name))?.layout.lone).toBe(name === 'b' ? 64 : index + 2);
    expect(readdirSync(folder)).toEqual(['layouts.json']);
  });

  it('are a few hundred; the oldest go', async () => {
    const layouts = Object.fromEntries(
      Array.from({ length: 310 }, (_, at) => [`k${at}`, measured(2, new Date(at * 1000).toISOString())]),
    );
    mkdirSync(folder, { recursive: true });
    writeFileSync(file(), JSON.stringify({ format: 1, layouts }));
    await open().remember('new', measured());
    const left = Object.keys(JSON.parse(readFileSync(file(), 'utf8')).layouts);
    expect(left).toHaveLength(300);
    expect(left).toContain('new');
    expect(left).toContain('k309');
    expect(left).not.toContain('k10');
  });

  it.each([
    ['torn', '{"format": 1, "layouts": {"a": {"lay'],
    ['empty', ''],
    ['of another program', '[1, 2, 3]'],
    ['of a later version', '{"format": 2, "layouts": {}}'],
    ['wrong in an entry', '{"format": 1, "layouts": {"a": {"layout": {"instances": 0, "threads": 1}}}}'],
    ['out of all bounds', JSON.stringify({ format: 1, layouts: {}, more: 'x'.repeat(2 ** 20) })],
  ])('a file that is %s counts as none, is told for debugging, and is replaced', async (_what, text) => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(file(), text);
    expect(await open().find('a')).toBeUndefined();
    expect(told).toEqual(['the layout cache is not used']);
    await open().remember('a', measured());
    expect(await open().find('a')).toEqual(measured());
  });

  it('a folder that can not be made is told for debugging', async () => {
    writeFileSync(join(place.path, 'cache'), 'a file in the way');
    expect(await open().find('a')).toBeUndefined();
    await open().remember('a', measured());
    expect(told).toContain('the layout can not be remembered');
    expect(await open().find('a')).toBeUndefined();
  });

  it('what can not be put in its place leaves nothing behind', async () => {
    mkdirSync(file(), { recursive: true });
    await open().remember('a', measured());
    expect(told).toContain('the layout can not be remembered');
    expect(readdirSync(folder)).toEqual(['layouts.json']);
  });
});

describe('the folder', () => {
  const home = () => '/home/me';
  const nowhere = () => {
    throw new Error('no such user');
  };

  it.each([
    ['/var/cache', home, '/var/cache/nereid'],
    [undefined, home, '/home/me/.cache/nereid'],
    ['', home, '/home/me/.cache/nereid'],
    ['not/absolute', home, '/home/me/.cache/nereid'],
    [undefined, nowhere, undefined],
    ['/var/cache', nowhere, '/var/cache/nereid'],
  ])('with XDG_CACHE_HOME %s', (xdgCacheHome, homeOf, expected) => {
    expect(cacheFolder(xdgCacheHome, homeOf)).toBe(expected);
  });
});

describe('the name of a layout', () => {
  const shapes = [{ rows: 32, length: 16 }];
  const session = (change: object = {}) => {
    const modelFile = join(place.path, 'model.onnx');
    return { modelFile, text: true, intraOpThreads: 1, ...change };
  };

  it('is another when anything is that may change the outcome, and the same otherwise', () => {
    writeFileSync(join(place.path, 'model.onnx'), 'one');
    const of = (change: Partial<Parameters<typeof layoutKey>[0]> = {}) =>
      layoutKey({ cores: 2, session: session(), shapes, ...change });
    const first = of();
    expect(of()).toBe(first);
    const others = [
      of({ cores: 4 }),
      of({ session: session({ graphLevel: 'basic' }) }),
      of({ shapes: [{ rows: 8, length: 16 }] }),
    ];
    writeFileSync(join(place.path, 'model.onnx'), 'another');
    others.push(of());
    expect(new Set([first, ...others]).size).toBe(5);
  });
});
