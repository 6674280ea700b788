import { readdirSync, readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { PullEvent } from '../../cli/pull/source.ts';
import { breakAfter, refuse } from './fake-hub.ts';
import { checkManifest, downloads, embedderFiles, hubWith, MODEL, pullFixture } from './pull-setup.ts';

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
