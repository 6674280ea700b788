import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { gitSha1, refuse, sha256 } from './fake-hub.ts';
import { embedderFiles, hubWith, MODEL, pullFixture } from './pull-setup.ts';

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
