import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { AdminPort } from '../../model-server/api/ports.ts';
import { ServingError } from '../../model-server/errors.ts';
import { type FakeServerOptions, fakeAdmin, postAdmin, startApi } from './fake-models.ts';

const PATH = '/nereid.admin.v1.AdminService/';
const JSON_TYPE = { 'content-type': 'application/json' };

let api: Awaited<ReturnType<typeof startApi>> | undefined;
afterEach(async () => {
  await api?.close();
  api = undefined;
});
const start = async (options: FakeServerOptions = {}) => {
  api = await startApi(options);
  return api;
};
const post = (method: string, body: unknown, headers: Record<string, string> = {}) =>
  postAdmin(api!.httpPort, method, body, headers);

describe('methods as POST with JSON', () => {
  it('lists and shows what the reports say, defaults included', async () => {
    const admin = fakeAdmin();
    await start({ admin });
    const list = await post('ListModels', {});
    expect(list.status).toBe(200);
    expect(list.body).toMatchObject({
      serverVersion: '1.2.3',
      models: [
        {
          name: 'mini',
          loadMs: 12,
          served: true,
          memory: {
            predictedBytes: '94371840',
            measuredBytes: '99614720',
            idleMs: '1500',
            keepAliveMs: '-1',
          },
          selfCheck: { batchIdentical: false, batchMinCosine: 0.987 },
          instances: [{ isolation: 'thread', note: 'wanted a GPU, got cpu' }],
        },
        { version: 2, state: 'failed', reason: 'torn file' },
      ],
    });
    expect(list.body.models[1]).not.toHaveProperty('memory');
    const shown = await post('ShowModel', { model: 'mini' });
    expect(shown.body.versions[0]).toMatchObject({
      info: { name: 'mini' },
      effectiveConfig: [{ field: 'pooling', value: 'mean' }],
      inputs: ['input_ids INT64 [-1, -1]'],
    });
    await post('ShowModel', { model: 'mini', version: 2 });
    expect(list.body.aliases).toEqual([
      { model: 'mini', alias: 'stable', isDefault: true, percents: { 1: 90, 2: 10 } },
    ]);
    expect(admin.asked).toEqual([
      ['rolloutStatus', 'mini'],
      ['show', 'mini', undefined],
      ['show', 'mini', 2],
    ]);
  });

  it('loads with a config and files, and unloads', async () => {
    const admin = fakeAdmin();
    await start({ admin });
    const files = { '1/model.onnx': Buffer.from([1, 2, 255]).toString('base64') };
    expect((await post('LoadModel', { model: 'mini', config: '{}', files })).status).toBe(200);
    expect((await post('LoadModel', { model: 'mini' })).status).toBe(200);
    const unloaded = await post('UnloadModel', { model: 'mini', version: 1 });
    expect(unloaded.body.versions[0].state).toBe('unloaded');
    expect(admin.asked).toEqual([
      ['load', 'mini', { config: '{}', files: new Map([['1/model.onnx', new Uint8Array([1, 2, 255])]]) }],
      ['load', 'mini', undefined],
      ['unload', 'mini', 1],
    ]);
  });

  it.each([
    '../1/model.onnx',
    '1/../../etc/passwd',
    '/1/model.onnx',
    '1/..',
    '0/model.onnx',
    'model.onnx',
    '1/a\\b',
    '1/.hidden',
    '1//model.onnx',
  ])('refuses the override path %j', async (path) => {
    const admin = fakeAdmin();
    await start({ admin });
    const reply = await post('LoadModel', { model: 'mini', config: '{}', files: { [path]: 'AA==' } });
    expect(reply).toMatchObject({ status: 400, body: { code: 'invalid_argument', reason: 'INVALID_INPUT' } });
    expect(admin.asked).toEqual([]);
  });

  it('refuses files without a config', async () => {
    await start();
    const reply = await post('LoadModel', { model: 'mini', files: { '1/model.onnx': 'AA==' } });
    expect(reply.status).toBe(400);
    expect(reply.body.message).toMatch(/1 file but no config/);
  });

  it('sets traffic, shadow and canary; what a canary leaves open is filled in', async () => {
    const admin = fakeAdmin();
    await start({ admin });
    const weights = { 1: 90, 2: 10 };
    const reply = await post('SetTraffic', { model: 'mini', alias: 'stable', weights, makeDefault: true });
    expect(reply.body.status).toMatchObject({
      plan: { defaultAlias: 'stable', aliases: { stable: { weights } }, canaryStep: 1 },
      canary: { percent: 10, requests: '57', readings: [{ name: 'maxErrorRate', actual: 0, ok: true }] },
      shadows: [{ cosine: { count: '40', p01: 0.91 } }],
      decisions: [{ what: 'started', atMs: '1700000000000' }],
    });
    expect(reply.body.status.shadows[0]).not.toHaveProperty('kendallTau');
    await post('SetShadow', { model: 'mini', shadow: { version: 2, percent: 10 } });
    await post('SetShadow', { model: 'mini' });
    await post('StartCanary', { model: 'mini', plan: { to: 2, guards: { maxErrorRate: 0 } } });
    for (const method of ['Promote', 'RollBack', 'GetRollout']) await post(method, { model: 'mini' });
    expect(admin.asked).toEqual([
      ['setTraffic', 'mini', { alias: 'stable', weights, makeDefault: true, mixedSpaces: undefined }],
      ['setShadow', 'mini', { version: 2, percent: 10 }],
      ['setShadow', 'mini', undefined],
      ['rolloutStatus', 'mini'],
      [
        'startCanary',
        'mini',
        {
          alias: '',
          from: 1,
          to: 2,
          steps: [1, 10, 50, 100],
          minRequests: 200,
          guards: { maxErrorRate: 0 },
        },
      ],
      ['promote', 'mini'],
      ['rollBack', 'mini'],
      ['rolloutStatus', 'mini'],
    ]);
    expect(await post('StartCanary', { model: 'mini' })).toMatchObject({
      status: 400,
      body: { message: expect.stringMatching(/"to"/) },
    });
  });

  it('drains, compares, tells the memory and cleans up', async () => {
    const admin = fakeAdmin();
    await start({ admin });
    await post('Drain', { model: '', resume: true });
    expect((await post('Compare', { model: 'mini', a: 1, b: 2 })).body).toMatchObject({
      verdict: 'near',
      meanCosine: 0.997,
    });
    expect((await post('GetMemory', {})).body.devices[0]).toMatchObject({
      device: 'cpu',
      limitBytes: '1073741824',
      holders: [{ owner: 'mini 1', memory: { leases: 2 } }],
    });
    expect((await post('CleanUp', {})).body).toEqual({ evicted: ['mini 2'], freedBytes: '94371840' });
    expect(admin.asked.slice(0, 2)).toEqual([
      ['drain', '', true],
      ['compare', 'mini', 1, 2],
    ]);
  });

  it('tells an error by code, message and reason, and when to try again', async () => {
    const full = new ServingError('MEMORY_BUDGET_EXCEEDED', '3 GB of 2 GB', { retryAfterMs: 1500 });
    const load: AdminPort['load'] = () => Promise.reject(full);
    await start({ admin: fakeAdmin({ load }) });
    const reply = await post('LoadModel', { model: 'mini' });
    expect(reply.status).toBe(507);
    expect(reply.body).toEqual({
      code: 'resource_exhausted',
      message: '3 GB of 2 GB',
      reason: 'MEMORY_BUDGET_EXCEEDED',
    });
    expect(reply.headers.get('retry-after')).toBe('2');
  });
});

describe('what is refused', () => {
  const bad: [string, unknown, Record<string, string>, number, RegExp][] = [
    ['no JSON', '{"model": ', {}, 400, /no valid nereid.admin.v1.ShowModelRequest/],
    ['an empty body', '', {}, 400, /no valid/],
    ['an unknown field', { modle: 'mini' }, {}, 400, /modle/],
    ['a field of the wrong type', { model: 7 }, {}, 400, /model/],
    ['a number out of range', { version: -1 }, {}, 400, /version/],
    ['no UTF-8', Buffer.from([0x22, 0xc3, 0x28, 0x22]), {}, 400, /UTF-8/],
    [
      'another type',
      'model=mini',
      { 'content-type': 'application/x-www-form-urlencoded' },
      415,
      /application\/json/,
    ],
    ['plain text', '{}', { 'content-type': 'text/plain' }, 415, /application\/json/],
    [
      'another charset',
      '{}',
      { 'content-type': 'application/json; charset=latin1' },
      415,
      /application\/json/,
    ],
    ['a compressed body', '{}', { 'content-encoding': 'gzip' }, 415, /compressed/],
  ];
  it.each(bad)('%s', async (_, body, headers, status, message) => {
    const admin = fakeAdmin();
    await start({ admin });
    const reply = await post('ShowModel', body, headers);
    expect(reply.status).toBe(status);
    expect(reply.body).toMatchObject({ code: 'invalid_argument', message: expect.stringMatching(message) });
    expect(admin.asked).toEqual([]);
  });

  it('a comparison needs two versions', async () => {
    const admin = fakeAdmin();
    await start({ admin });
    for (const versions of [{}, { a: 1 }, { b: 2 }]) {
      const reply = await post('Compare', { model: 'mini', ...versions });
      expect(reply).toMatchObject({ status: 400, body: { reason: 'INVALID_INPUT' } });
    }
    expect(admin.asked).toEqual([]);
  });

  it('is in the log, although nothing was asked', async () => {
    const { logged } = await start();
    expect((await post('Promote', '{}', { 'content-type': 'text/plain' })).status).toBe(415);
    expect(logged).toMatchObject([
      { level: 'info', fields: { method: 'Promote', outcome: 'UNSUPPORTED' }, message: 'admin call' },
    ]);
  });

  it('takes POST only, and only methods that there are', async () => {
    const { httpPort } = await start();
    const get = await fetch(`http://127.0.0.1:${httpPort}${PATH}ListModels`);
    expect([get.status, get.headers.get('allow')]).toEqual([405, 'POST']);
    expect((await post('Explode', {})).status).toBe(404);
    const probe = await fetch(`http://127.0.0.1:${httpPort}/readyz`, { method: 'POST' });
    expect([probe.status, probe.headers.get('allow')]).toEqual([405, 'GET']);
  });

  it('a body above the limit is refused by its announced length, and while it arrives', async () => {
    await start();
    const announced = await post('ShowModel', { model: 'm'.repeat(1024 * 1024) });
    expect(announced).toMatchObject({
      status: 413,
      body: { reason: 'INPUT_TOO_LONG', message: expect.stringMatching(/limit is 1048576 bytes/) },
    });
    const chunked = await new Promise<number>((resolve, reject) => {
      const request = httpRequest(
        { port: api!.httpPort, path: `${PATH}ShowModel`, method: 'POST', headers: JSON_TYPE },
        (reply) => {
          reply.resume();
          resolve(reply.statusCode!);
          request.destroy();
        },
      );
      request.on('error', reject);
      for (let index = 0; index < 17; index++) request.write(Buffer.alloc(64 * 1024, 0x20));
    });
    expect(chunked).toBe(413);
    expect((await post('LoadModel', { model: 'm'.repeat(1024 * 1024) })).status).toBe(200);
  });

  it('a client that leaves in the middle harms nobody', async () => {
    const { httpPort, calls } = await start();
    const socket = connect(httpPort, '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.write(
      `POST ${PATH}ShowModel HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{`,
      () => socket.destroy(),
    );
    await new Promise((resolve) => socket.once('close', resolve));
    expect((await post('ListModels', {})).status).toBe(200);
    await expect.poll(() => calls.map(({ reason }) => reason)).toContain('CANCELLED');
  });
});
