import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { PullEvent } from '../../cli/pull/source.ts';
import { breakAfter, type FakeHubOptions, fakeHub, gitSha1, refuse, sha256 } from './fake-hub.ts';
import { checkManifest, embedderFiles, embedderTargets, onnxFile, pullFixture } from './pull-setup.ts';

const MODEL = 'onnx/model.onnx';
const lfs = [MODEL, 'onnx/model_int8.onnx'];
const hubWith = (options: Partial<FakeHubOptions> = {}) =>
  fakeHub({ files: embedderFiles(), lfs, ...options });

/** Downloads of one file from the host of large files. */
const downloads = (hub: Awaited<ReturnType<typeof fakeHub>>, file = MODEL) =>
  hub.requests.filter(({ host, path }) => host === 'cdn' && path === `/${file}`);

test('a pull makes the first version: weights, tokenizer, checksums, provenance, and nothing else', async () => {
  const hub = await hubWith({ pageSize: 3 });
  const fixture = pullFixture();
  const result = await fixture.fromHub(hub);
  const folder = join(fixture.repository, 'tiny', '1');
  expect(result).toEqual({
    name: 'tiny',
    version: 1,
    folder,
    file: MODEL,
    precision: 'fp32',
    unchanged: false,
  });
  expect(checkManifest(folder)).toEqual(embedderTargets);
  expect(readFileSync(join(folder, 'model.onnx'))).toEqual(Buffer.from(embedderFiles()[MODEL]!));
  expect(JSON.parse(readFileSync(join(folder, 'pulled.json'), 'utf8'))).toEqual({
    source: `${hub.url}/${hub.id}`,
    revision: 'main',
    commit: hub.commit,
    file: MODEL,
    precision: 'fp32',
    content: expect.stringMatching(/^[0-9a-f]{64}$/),
    pulled_at: '2026-01-02T03:04:05.000Z',
    nereid: '0.0.1',
  });
  expect(readdirSync(join(fixture.repository, 'tiny'))).toEqual(['1']);
  const resolved = hub.requests.filter(({ path }) => path.includes('/resolve/'));
  expect(resolved.every(({ path }) => path.startsWith(`/${hub.id}/resolve/${hub.commit}/`))).toBe(true);
});

test('the same snapshot again is told and not downloaded; --force and another file make versions', async () => {
  const hub = await hubWith();
  const fixture = pullFixture();
  await fixture.fromHub(hub);
  expect(await fixture.fromHub(hub)).toMatchObject({ version: 1, unchanged: true });
  expect(downloads(hub)).toHaveLength(1);
  expect(await fixture.fromHub(hub, { force: true })).toMatchObject({ version: 2, unchanged: false });
  const wish = { variant: 'int8' } as const;
  expect(await fixture.fromHub(hub, { wish })).toMatchObject({ version: 3, file: 'onnx/model_int8.onnx' });
  expect(readdirSync(join(fixture.repository, 'tiny'))).toEqual(['1', '2', '3']);
});

test('a new commit with the same content is no new version; with another content it is', async () => {
  const fixture = pullFixture();
  await fixture.fromHub(await hubWith());
  const later = { commit: '2'.repeat(40) };
  expect(await fixture.fromHub(await hubWith(later))).toMatchObject({ version: 1, unchanged: true });
  const changed = await hubWith({ files: embedderFiles({ seed: 9 }), commit: '3'.repeat(40) });
  expect(await fixture.fromHub(changed)).toMatchObject({ version: 2, unchanged: false });
  expect(readdirSync(join(fixture.repository, 'tiny'))).toEqual(['1', '2']);
});

test('the next version is above every number that is taken', async () => {
  const fixture = pullFixture();
  mkdirSync(join(fixture.repository, 'tiny', '7'), { recursive: true });
  writeFileSync(join(fixture.repository, 'tiny', 'config.pbtxt'), '');
  expect((await fixture.fromHub(await hubWith())).version).toBe(8);
});

test('a tag is asked for as it is, and pinned to its commit', async () => {
  const hub = await hubWith({ revisions: ['v1.0'] });
  expect((await pullFixture().fromHub(hub, { revision: 'v1.0' })).version).toBe(1);
});

test('weights outside of the ONNX file come along under the names that it has for them', async () => {
  const files = {
    ...embedderFiles({ external: ['model.onnx_data', './parts/more.bin'] }),
    'onnx/model.onnx_data': Buffer.alloc(5000, 7),
    'onnx/parts/more.bin': Buffer.alloc(3000, 8),
    'onnx/model_int8.onnx_data': 'of another file',
  };
  const hub = await hubWith({ files, lfs: [...lfs, 'onnx/model.onnx_data'] });
  const fixture = pullFixture();
  const { folder } = await fixture.fromHub(hub);
  expect(checkManifest(folder)).toEqual([...embedderTargets, 'model.onnx_data', 'parts/more.bin'].sort());
});

test('the companions beside the weights win over those at the top', async () => {
  const files = { ...embedderFiles(), 'onnx/tokenizer.json': '{"mine":true}' };
  const { folder } = await pullFixture().fromHub(await hubWith({ files }));
  expect(readFileSync(join(folder, 'tokenizer.json'), 'utf8')).toBe('{"mine":true}');
});

test('a model without a tokenizer is pulled, and said to take no texts', async () => {
  const fixture = pullFixture();
  await fixture.fromHub(await hubWith({ files: { 'model.onnx': onnxFile() }, lfs: [] }));
  const message = expect.stringContaining('no tokenizer.json: the model takes tensors, but no texts');
  expect(fixture.events).toContainEqual({ event: 'note', message });
});

describe('the token', () => {
  const env = { HF_TOKEN: 'hf_secret' };

  test('goes to the hub, and neither along the redirect nor to where a listing continues elsewhere', async () => {
    const hub = await hubWith();
    await pullFixture().fromHub(hub, { env });
    const seen = (host: string) =>
      new Set(
        hub.requests.filter((request) => request.host === host).map(({ authorization }) => authorization),
      );
    expect(seen('hub')).toEqual(new Set(['Bearer hf_secret']));
    expect(seen('cdn')).toEqual(new Set([undefined]));

    const astray = await hubWith({
      handle: ({ host, path }, response) => {
        if (host === 'hub' && path.includes('/tree/')) {
          response.setHeader('link', `<${astray.cdnUrl}/next>; rel="next"`);
          response.writeHead(200, { 'content-type': 'application/json' }).end('[]');
        } else if (host === 'cdn') response.writeHead(200).end('[]');
        else return false;
        return true;
      },
    });
    await expect(pullFixture().fromHub(astray, { env })).rejects.toThrow('no ONNX file');
    expect(astray.requests.at(-1)).toMatchObject({ host: 'cdn', authorization: undefined });
  });

  test('is not required to begin as those of one hub do, and never part of a message', async () => {
    const hub = await hubWith();
    await pullFixture().fromHub(hub, { env: { HF_TOKEN: ' other-token\n' } });
    expect(hub.requests[0]!.authorization).toBe('Bearer other-token');
    const wrong = pullFixture().fromHub(hub, { env: { HF_TOKEN: 'hf_a\nhf_b' } });
    await expect(wrong).rejects.toThrow(/^HF_TOKEN holds characters that no token has; copy it again$/);
  });
});

describe('resuming', () => {
  const files = embedderFiles({ bytes: 300_000 });
  const content = files[MODEL] as Uint8Array;

  test('a connection that breaks midway is continued with a range, in the same run', async () => {
    let breaking: ServerResponse | undefined;
    const hub = await hubWith({
      files,
      handle: ({ host }, response) => {
        if (host !== 'cdn' || breaking !== undefined) return false;
        breaking = response.writeHead(200, { 'content-length': content.length });
        breaking.write(content.subarray(0, 100_000));
        return true;
      },
    });
    const fixture = pullFixture();
    const onEvent = ({ event }: PullEvent) => {
      // Not before something has arrived: what a reset overtakes is lost.
      if (event === 'file_progress') breaking!.destroy();
    };
    checkManifest((await fixture.fromHub(hub, { onEvent })).folder);
    const from = Number(/^bytes=(\d+)-$/.exec(downloads(hub)[1]!.range!)![1]);
    expect(from).toBeGreaterThan(0);
    expect(from).toBeLessThanOrEqual(100_000);
    expect(fixture.pauses).toEqual([500]);
    expect(fixture.events).toContainEqual(
      expect.objectContaining({ event: 'retry', file: MODEL, attempt: 2 }),
    );
  });

  test('a later run goes on where an interrupted one stopped', async () => {
    const stopping = new AbortController();
    const hub = await hubWith({
      files,
      handle: ({ host }, response) => {
        if (host !== 'cdn' || stopping.signal.aborted) return false;
        // Keeps the connection open: what ends it is the person at the terminal.
        response.writeHead(200, { 'content-length': content.length });
        response.write(content.subarray(0, 120_000));
        return true;
      },
    });
    const fixture = pullFixture();
    const first = fixture.fromHub(hub, {
      signal: stopping.signal,
      onEvent: (event) => {
        if (event.event === 'file_progress' && event.doneBytes === 120_000)
          stopping.abort(new Error('stopped'));
      },
    });
    await expect(first).rejects.toThrow('stopped');
    const partial = fixture.paths();
    expect(partial).toEqual([expect.stringMatching(/^tiny\/\.pull-[0-9a-f]{16}\/model\.onnx$/)]);
    expect(readFileSync(join(fixture.repository, partial[0]!))).toHaveLength(120_000);

    const { folder } = await fixture.fromHub(hub);
    expect(downloads(hub)[1]!.range).toBe('bytes=120000-');
    expect(fixture.events).toContainEqual({
      event: 'file_started',
      file: MODEL,
      bytes: content.length,
      resumedFrom: 120_000,
    });
    checkManifest(folder);
    expect(readdirSync(join(fixture.repository, 'tiny'))).toEqual(['1']);
  });

  test('files that came whole are not asked for again', async () => {
    let broken = true;
    const hub = await hubWith({
      files,
      handle: ({ path }, response) => {
        const fails = broken && path.endsWith('/tokenizer_config.json');
        if (fails) refuse(response, 500);
        return fails;
      },
    });
    const fixture = pullFixture();
    await expect(fixture.fromHub(hub)).rejects.toThrow(/answers 500 .*tried 5 times/);
    expect(fixture.pauses).toEqual([500, 1000, 2000, 4000]);
    broken = false;
    await fixture.fromHub(hub);
    expect(downloads(hub)).toHaveLength(1);
  });

  test('a server without ranges sends all again, and the file is right', async () => {
    let first = true;
    const hub = await hubWith({
      files,
      handle: ({ host }, response) => {
        if (host !== 'cdn') return false;
        if (first) breakAfter(response, content, 1000);
        else response.writeHead(200, { 'content-length': content.length }).end(content);
        first = false;
        return true;
      },
    });
    checkManifest((await pullFixture().fromHub(hub)).folder);
  });

  test('a server without ranges that never gets further is given up', async () => {
    const hub = await hubWith({
      files,
      handle: ({ host }, response) => {
        if (host === 'cdn') breakAfter(response, content, 1000);
        return host === 'cdn';
      },
    });
    await expect(pullFixture().fromHub(hub)).rejects.toThrow(/tried 5 times/);
    expect(downloads(hub).length).toBeLessThan(20);
  });

  test('an address that the other host no longer honours is asked for again', async () => {
    let times = 0;
    const hub = await hubWith({
      handle: ({ host }, response) => {
        if (host !== 'cdn' || ++times > 1) return false;
        refuse(response, 403);
        return true;
      },
    });
    const fixture = pullFixture();
    checkManifest((await fixture.fromHub(hub)).folder);
    const why = `${hub.cdnUrl} answers 403 for /${hub.id}/resolve/${hub.commit}/${MODEL}`;
    expect(fixture.events).toContainEqual(expect.objectContaining({ event: 'retry', why }));
  });

  test('an answer for another range is not glued on', async () => {
    let times = 0;
    const hub = await hubWith({
      files,
      handle: ({ host }, response) => {
        if (host !== 'cdn' || ++times > 2) return false;
        if (times === 1) breakAfter(response, content, 1000);
        else response.writeHead(206, { 'content-range': `bytes 5-9/${content.length}` }).end('wrong');
        return true;
      },
    });
    checkManifest((await pullFixture().fromHub(hub)).folder);
  });

  test('500 twice, then fine; and the pause that the hub asks for is kept', async () => {
    let times = 0;
    const hub = await hubWith({
      handle: ({ path }, response) => {
        if (!path.includes('/revision/') || ++times > 2) return false;
        if (times === 2) response.setHeader('retry-after', '7');
        refuse(response, times === 1 ? 500 : 429);
        return true;
      },
    });
    const fixture = pullFixture();
    expect((await fixture.fromHub(hub)).version).toBe(1);
    expect(fixture.pauses).toEqual([500, 7000]);
  });

  test('a transfer that stands still is given up and continued', async () => {
    let times = 0;
    const hub = await hubWith({
      files,
      handle: ({ host }, response) => {
        if (host !== 'cdn' || ++times > 1) return false;
        response.writeHead(200, { 'content-length': content.length });
        response.write(content.subarray(0, 10));
        return true;
      },
    });
    const fixture = pullFixture({ stallMs: 400 });
    checkManifest((await fixture.fromHub(hub)).folder);
    const why = 'nothing arrived for 400 ms';
    expect(fixture.events).toContainEqual(expect.objectContaining({ event: 'retry', file: MODEL, why }));
  });
});

describe('what arrives is checked', () => {
  const files = embedderFiles();
  const content = Buffer.from(files[MODEL]!);
  const damaged = Buffer.from(content).fill(0, 10, 20);
  const answering = (matches: string, body: Uint8Array) =>
    hubWith({
      files,
      handle: ({ host, path }, response) => {
        const mine = path.endsWith(matches) && (host === 'cdn' || path.endsWith('.json'));
        if (mine) response.writeHead(200).end(body);
        return mine;
      },
    });

  test('wrong bytes of a large file: both hashes are told, and that file is deleted', async () => {
    const fixture = pullFixture();
    const failing = fixture.fromHub(await answering(MODEL, damaged));
    await expect(failing).rejects.toThrow(
      `${MODEL} arrived damaged and was deleted: its SHA-256 is ${sha256(damaged)}, the hub says ${sha256(content)}.`,
    );
    expect(fixture.paths()).toEqual([]);
  });

  test('wrong bytes of a small file, by its hash in git; the others stay', async () => {
    const [right, wrong] = ['{"model_type":"bert"}', '{"model_type":"evil"}'].map((text) =>
      Buffer.from(text),
    );
    const fixture = pullFixture();
    const failing = fixture.fromHub(await answering('/config.json', wrong!));
    await expect(failing).rejects.toThrow(
      `git's SHA-1 is ${gitSha1(wrong!)}, the hub says ${gitSha1(right!)}`,
    );
    expect(fixture.paths()).toEqual([expect.stringMatching(/model\.onnx$/)]);
  });

  test('a file that is longer than listed is cut off', async () => {
    const failing = pullFixture().fromHub(await answering(MODEL, Buffer.concat([content, content])));
    await expect(failing).rejects.toThrow(`${MODEL} is longer than the ${content.length} bytes`);
  });

  test('a file that is no ONNX model, and one that lacks its external weights', async () => {
    const fixture = pullFixture();
    const text = await hubWith({ files: { 'model.onnx': 'this is no model' }, lfs: [] });
    await expect(fixture.fromHub(text)).rejects.toThrow(/^model\.onnx is no whole ONNX model: /);
    const lacking = await hubWith({ files: embedderFiles({ external: ['model.onnx_data'] }) });
    await expect(fixture.fromHub(lacking)).rejects.toThrow(
      /onnx\/model\.onnx keeps weights in model\.onnx_data, but .* has no onnx\/model\.onnx_data/,
    );
    expect(existsSync(join(fixture.repository, 'tiny', '1'))).toBe(false);
  });

  test.each(['../../evil', '/etc/evil', 'config.json', 'SHA256SUMS', 'model.onnx'])(
    'an ONNX file may not name %s as its weights',
    async (location) => {
      const external = { ...embedderFiles({ external: [location] }), 'onnx/SHA256SUMS': 'x' };
      const fixture = pullFixture();
      const failing = fixture.fromHub(await hubWith({ files: { ...external, 'onnx/config.json': '{}' } }));
      await expect(failing).rejects.toThrow(/could leave its folder|needs for another file/);
    },
  );

  test.each(['../evil.onnx', '/evil', 'a\\..\\b', 'a/../b'])(
    'a listing with %s is refused as a whole',
    async (path) => {
      const extraEntries = [{ type: 'file', path, size: 1, oid: 'a'.repeat(40) }];
      const fixture = pullFixture();
      await expect(fixture.fromHub(await hubWith({ extraEntries }))).rejects.toThrow(
        'could leave its folder',
      );
      expect(fixture.paths()).toEqual([]);
    },
  );
});

describe('refusals say what to do', () => {
  const answering = (status: number, code?: string) =>
    hubWith({
      handle: (_request, response) => {
        refuse(response, status, code);
        return true;
      },
    });
  const env = { HF_TOKEN: 'hf_x' };

  test.each([
    [
      401,
      'RepoNotFound',
      {},
      /^there is no model acme\/Tiny-Embedder at http.*or it is private: HF_TOKEN must then/,
    ],
    [404, 'RepoNotFound', env, /^there is no model .*, or the token in HF_TOKEN may not see it$/],
    [404, 'RevisionNotFound', {}, /^acme\/Tiny-Embedder has no revision main; its branches and tags are at /],
    [401, 'GatedRepo', {}, /is gated: accept its terms at http\S+\/acme\/Tiny-Embedder, then set HF_TOKEN/],
    [403, 'GatedRepo', env, /is gated: .* use a token in HF_TOKEN that may read it$/],
    [401, undefined, env, /refuses the token in HF_TOKEN \(401\)/],
    [418, undefined, {}, /answers 418 for \/api\/models\/acme\/Tiny-Embedder\/revision\/main$/],
  ])('%i %s with %j', async (status, code, variables, message) => {
    const fixture = pullFixture();
    await expect(
      fixture.fromHub(await answering(status, code), { env: variables as Record<string, string> }),
    ).rejects.toThrow(message);
    expect(fixture.paths()).toEqual([]);
  });

  test('an unknown id and an unknown revision', async () => {
    const hub = await hubWith();
    await expect(pullFixture().fromHub(hub, { id: 'acme/other' })).rejects.toThrow(
      'there is no model acme/other',
    );
    await expect(pullFixture().fromHub(hub, { revision: 'v9' })).rejects.toThrow('has no revision v9');
  });

  test('a hub out of reach: what was tried, and what else can be done', async () => {
    const gone = createServer();
    await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve));
    const { port } = gone.address() as AddressInfo;
    await new Promise((resolve) => gone.close(resolve));
    const env = { HF_ENDPOINT: `http://127.0.0.1:${port}` };
    const failing = pullFixture().fromHub(await hubWith(), { env });
    await expect(failing).rejects.toThrow(
      /can't be reached: connect ECONNREFUSED .*tried 5 times.*HF_ENDPOINT/,
    );
  });

  test('a page instead of an answer is no model', async () => {
    const hub = await hubWith({ handle: (_request, response) => response.end('<html>') === response });
    await expect(pullFixture().fromHub(hub)).rejects.toThrow(/no usable answer about acme\/Tiny-Embedder/);
  });

  test.each(['ftp://x', 'nowhere', 'http://me:secret@hub'])('HF_ENDPOINT=%s', async (endpoint) => {
    const failing = pullFixture().fromHub(await hubWith(), { env: { HF_ENDPOINT: endpoint } });
    await expect(failing).rejects.toThrow(/^HF_ENDPOINT must be an address such as https/);
  });

  test('more bytes than --max-bytes allows', async () => {
    const fixture = pullFixture();
    await expect(fixture.fromHub(await hubWith(), { maxBytes: 200 })).rejects.toThrow(
      /the limit is 200 \(--max-bytes\)/,
    );
    expect(existsSync(join(fixture.repository, 'tiny'))).toBe(false);
  });

  test('a model without an ONNX file', async () => {
    const hub = await hubWith({ files: { 'model.safetensors': 'x' }, lfs: [] });
    await expect(pullFixture().fromHub(hub)).rejects.toThrow(`${hub.url}/${hub.id}: it has no ONNX file`);
  });
});

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
    const failing = fixture.fromHub(await hubWith({ lfs: [] }), { maxBytes: 200 });
    await expect(failing).rejects.toThrow('--max-bytes');
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

test('what lies in the staging folder and is no file of the model does not get into the version', async () => {
  const hub = await hubWith();
  const fixture = pullFixture();
  const { folder } = await fixture.fromHub(hub, {
    onEvent: (event) => {
      if (event.event !== 'file_done' || event.file !== MODEL) return;
      const staging = readdirSync(join(fixture.repository, 'tiny')).find((name) =>
        /^\.pull-\w+$/.test(name),
      )!;
      const at = (name: string) => join(fixture.repository, 'tiny', staging, name);
      writeFileSync(at('left-over.bin'), 'x');
      symlinkSync('/etc/passwd', at('config.json'));
    },
  });
  expect(checkManifest(folder)).toEqual(embedderTargets);
  expect(readFileSync(join(folder, 'config.json'), 'utf8')).toBe('{"model_type":"bert"}');
});
