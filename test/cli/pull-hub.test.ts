import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  checkManifest,
  downloads,
  embedderFiles,
  embedderTargets,
  hubWith,
  LARGE_FILES,
  MODEL,
  onnxFile,
  pullFixture,
} from './pull-setup.ts';

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
  const hub = await hubWith({ files, lfs: [...LARGE_FILES, 'onnx/model.onnx_data'] });
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
