import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openStaging } from '../../cli/pull/staging.ts';
import { checkManifest, downloads, embedderFiles, hubWith, MODEL, pullFixture } from './pull-setup.ts';

describe('a full disk', () => {
  test('is foreseen, with both figures', async () => {
    const hub = await hubWith();
    const fixture = pullFixture({ freeBytes: async () => 100 });
    await expect(fixture.fromHub(hub)).rejects.toThrow(
      /too small: \d+ bytes \(\d+ B\) are needed, 100 \(100 B\) are free/,
    );
    expect(downloads(hub)).toEqual([]);
    expect(fixture.paths()).toEqual([]);
  });

  test.skipIf(!existsSync('/dev/full'))(
    'that shows while writing leaves no version, and the next run succeeds',
    async () => {
      const hub = await hubWith();
      let full = true;
      const fixture = pullFixture({
        // The device fails every write as a full disk does.
        open: (path, flags) => open(full && path.endsWith('tokenizer.json') ? '/dev/full' : path, flags),
        freeBytes: async () => 4096,
      });
      await expect(fixture.fromHub(hub)).rejects.toThrow(
        /^the disk is full: tokenizer\.json needs 17 more bytes \(17 B\), 4096 \(4\.0 KiB\) are free\. No version was made: /,
      );
      expect(readdirSync(join(fixture.repository, 'tiny'))).toEqual([expect.stringMatching(/^\.pull-/)]);
      full = false;
      checkManifest((await fixture.fromHub(hub)).folder);
      expect(downloads(hub)).toHaveLength(1);
    },
  );
});

test.skipIf(!existsSync('/proc/self'))('a repository that can not be made is told, and soon', async () => {
  // This file system refuses new folders as if the one above were missing.
  const staging = openStaging('/proc/nowhere/models/m', { key: ['a'], what: 'a', pid: 1 });
  await expect(staging).rejects.toMatchObject({ code: 'ENOENT' });
});

test('a repository that can not be one is told without a stack', async () => {
  const fixture = pullFixture();
  writeFileSync(fixture.repository, 'a file');
  await expect(fixture.fromHub(await hubWith())).rejects.toThrow(/tiny can't be put in place: E\w+: /);
});

describe('two pulls at once', () => {
  /** A hub that holds the weights back until it is told. */
  async function heldHub() {
    const gate = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const files = embedderFiles();
    const hub = await hubWith({
      files,
      handle: ({ host }, response) => {
        if (host !== 'cdn') return false;
        asked.resolve();
        void gate.promise.then(() => response.writeHead(200).end(files[MODEL]));
        return true;
      },
    });
    return { hub, open: gate.resolve, asked: asked.promise };
  }

  test('of the same thing: the second says so; another model goes its way', async () => {
    const { hub, open: letGo, asked } = await heldHub();
    const fixture = pullFixture();
    const first = fixture.fromHub(hub);
    await asked;
    await expect(fixture.fromHub(hub)).rejects.toThrow(
      new RegExp(`another pull of ${MODEL} of .* is running \\(process ${process.pid} .*delete .*\\.lock`),
    );
    const other = fixture.fromHub(hub, { name: 'other' });
    letGo();
    expect((await first).version).toBe(1);
    expect((await other).version).toBe(1);
    expect(fixture.paths().filter((path) => path.includes('.pull-'))).toEqual([]);
  });

  test('of two revisions: each gets a version of its own', async () => {
    const fixture = pullFixture();
    const hubs = await Promise.all(
      [1, 2, 3].map((seed) => hubWith({ files: embedderFiles({ seed }), commit: String(seed).repeat(40) })),
    );
    const results = await Promise.all(hubs.map((hub) => fixture.fromHub(hub)));
    expect(results.map(({ version }) => version).sort()).toEqual([1, 2, 3]);
    for (const { folder } of results) checkManifest(folder);
  });

  test('what another pull left unfinished is named', async () => {
    const hub = await hubWith();
    const fixture = pullFixture();
    const leftOver = join(fixture.repository, 'tiny', `.pull-${'0'.repeat(16)}`);
    mkdirSync(leftOver, { recursive: true });
    await fixture.fromHub(hub);
    const message = `an unfinished pull lies in ${leftOver}; delete it if nobody goes on with it`;
    expect(fixture.events).toContainEqual({ event: 'note', message });
  });

  test('a lock with our own process id that we do not hold is of an earlier life, and taken over', async () => {
    const hub = await hubWith();
    const fixture = pullFixture();
    let lockFile = '';
    await fixture.fromHub(hub, {
      onEvent: ({ event }) => {
        if (event === 'planned') lockFile = fixture.paths().find((path) => path.endsWith('.lock'))!;
      },
    });
    writeFileSync(join(fixture.repository, lockFile), `${process.pid} ${hostname()}\n`);
    expect((await fixture.fromHub(hub, { force: true })).version).toBe(2);
  });

  test('a lock that a dead process left is taken over; one of another machine is not', async () => {
    const hub = await hubWith();
    const fixture = pullFixture();

    let lockFile = '';
    await fixture.fromHub(hub, {
      force: true,
      onEvent: ({ event }) => {
        if (event === 'planned')
          lockFile = join(fixture.repository, fixture.paths().find((path) => path.endsWith('.lock'))!);
      },
    });
    expect(existsSync(lockFile)).toBe(false);
    // Above any process id that Linux gives.
    writeFileSync(lockFile, `4194305 ${hostname()}\n`);
    expect((await fixture.fromHub(hub, { force: true })).version).toBe(2);
    writeFileSync(lockFile, '1 elsewhere.example\n');
    await expect(fixture.fromHub(hub, { force: true })).rejects.toThrow('(process 1 elsewhere.example)');
  });
});
