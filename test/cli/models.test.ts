import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import type { RolloutStatus } from '../../model-server/models/rollout/status.ts';
import { type FakeServerOptions, fakeAdmin, report, rollout, startApi } from '../model-server/fake-models.ts';
import { nereid } from './spawned.ts';

/** A model server with made-up models, and `nereid` asking it. */
async function setUp(options: FakeServerOptions = {}) {
  const admin = fakeAdmin();
  const api = await startApi({ admin, ...options });
  onTestFinished(api.close);
  const address = ['--server-address', `127.0.0.1:${api.grpcPort}`];
  const run = (args: string[], env: Record<string, string> = {}) => nereid([...args, ...address], { env });
  return { asked: admin.asked, run, address };
}

test('lists versions with memory, leases and idle time, and says what is wrong', async () => {
  const { run } = await setUp();
  const { code, out } = await run(['models']);
  expect(code).toBe(0);
  expect(out.split('\n')).toEqual([
    'NAME  VERSION  STATE   TASKS        DIM  TOKENS  INSTANCES   MEMORY         LEASES  IDLE  SPACE',
    'mini  1        ready   embed,infer  3    256     cpux1:idle  95 MiB/90 MiB  2       2 s   a1b2c3d4',
    'mini  2        failed  embed,infer  3    256     cpux1:idle  -              0       -     a1b2c3d4',
    '',
    'mini 1: vectors depend on their neighbours',
    'mini 1: wanted a GPU, got cpu',
    'mini 2: torn file',
    'mini 2: vectors depend on their neighbours',
    'mini 2: wanted a GPU, got cpu',
    '',
    'mini stable (default) -> 1: 90 %, 2: 10 %',
    '',
    'Nereid 1.2.3',
  ]);
});

test('an alias is shown with the share that a canary has now; without aliases nothing is', async () => {
  const { plan } = rollout();
  const aliases = { stable: { 1: 3 }, 'all-new': { 2: 1, 3: 3 } };
  const none = rollout({ plan: { ...plan, aliases: {}, defaultAlias: undefined, canary: undefined } });
  const under = (status: RolloutStatus) => setUp({ admin: fakeAdmin({ rolloutStatus: () => status }) });
  const { run } = await under(rollout({ plan: { ...plan, aliases } }));
  const { out } = await run(['models']);
  expect(out.split('\n').filter((line) => line.includes('->'))).toEqual([
    'mini stable (default) -> 1: 90 %, 2: 10 %',
    'mini all-new -> 2: 25 %, 3: 75 %',
  ]);
  expect((await (await under(none)).run(['models'])).out).not.toContain('->');
});

test('the list is open where administration is not, and can be had as JSON', async () => {
  const { address } = await setUp({ adminKey: 'open sesame' });
  for (const args of [
    ['models', ...address, '--json'],
    ['models', '--json', ...address],
  ]) {
    const { code, out } = await nereid(args);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ models: [{ name: 'mini', served: true }, { version: 2 }] });
  }
});

test('equal instances are told once, and a version that is not served says so', async () => {
  const [instance] = report().instances;
  const idle = { ...instance!, note: '' };
  const gpu = { ...idle, device: 'gpu:0', executionProvider: 'cuda', isolation: 'process' as const };
  const list = () => [
    report({ served: false, instances: [idle, idle, gpu], selfCheck: undefined, tasks: [] }),
  ];
  const { run } = await setUp({ admin: fakeAdmin({ list }) });
  const row = (await run(['models'])).out.split('\n')[1];
  expect(row).toContain('2 cpux1:idle, gpu:0/cudax1 process:idle');
  expect(row).toContain('ready (not served)');
});

test('show tells each setting and where it came from', async () => {
  const { run, asked } = await setUp();
  const { code, out } = await run(['models', 'show', 'mini', '--version', '2']);
  expect(code).toBe(0);
  expect(asked).toEqual([['show', 'mini', 2]]);
  expect(out).toContain('mini version 1   /models/mini/1');
  expect(out).toMatch(/pooling +mean +1_Pooling\/config\.json pooling_mode_mean_tokens/);
  expect(out).toContain('Inputs:\n  input_ids INT64 [-1, -1]\nOutputs:\n  last_hidden_state');
  expect(out).toContain(
    'Self-check: least cosine with 4 golden texts 0.9990; least cosine of alone with batched 0.9870',
  );
});

test('load sends a configuration and files', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const [config, model, big] = ['config.json', 'model.onnx', 'big.onnx'].map((name) => join(folder, name));
  writeFileSync(config!, '{"max_batch_size": 8}');
  writeFileSync(model!, Buffer.from([1, 2, 3]));
  writeFileSync(big!, '');
  truncateSync(big!, 65 * 1024 * 1024);
  const { run, asked } = await setUp();
  const load = ['models', 'load', 'mini', '--model-config', config!];
  const { code, out, err } = await run([...load, '--file', `1/model.onnx=${model}`]);
  expect([code, err]).toEqual([0, '']);
  expect(out).toContain('ready');
  expect(asked).toEqual([
    [
      'load',
      'mini',
      { config: '{"max_batch_size": 8}', files: new Map([['1/model.onnx', Buffer.from([1, 2, 3])]]) },
    ],
  ]);
  const wrong = async (...args: string[]) => {
    const failed = await run(['models', 'load', 'mini', ...args]);
    expect(failed.code).toBe(2);
    return failed.err;
  };
  expect(await wrong('--model-config', join(folder, 'nope'))).toMatch(/nope can't be read: ENOENT/);
  expect(await wrong('--file', 'model.onnx')).toMatch(/<version>\/<file>=<path>/);
  expect(await wrong('--file', `1/model.onnx=${big}`)).toMatch(/big\.onnx: a load can carry 63 MiB/);
});

test('unload, drain, memory, clean-up, compare', async () => {
  const { run, asked } = await setUp();
  expect((await run(['models', 'unload', 'mini', '--version', '1'])).out).toContain('unloaded');
  expect((await run(['models', 'drain'])).out).toBe('the server is draining');
  expect((await run(['models', 'drain', 'mini', '--resume'])).out).toBe('mini takes requests again');
  expect((await run(['models', 'memory'])).out.split('\n')).toEqual([
    'cpu: 155 MiB of 1.0 GiB used, 60 MiB without any model, resident now 160 MiB',
    'HELD BY  PREDICTED  MEASURED  LEASES  IDLE  KEPT',
    'mini 1   90 MiB     95 MiB    2       2 s   for ever',
  ]);
  expect((await run(['models', 'clean-up'])).out).toBe('unloaded mini 2: 90 MiB are free again');
  expect((await run(['models', 'compare', 'mini', '1', '2'])).out.split('\n')).toEqual([
    '1 and 2: near',
    'mean cosine 0.997 of 24 texts',
    '24 texts: cosine mean 0.9970, least 0.9600; neighbours in common 93.0 %',
  ]);
  expect(asked).toEqual([
    ['unload', 'mini', 1],
    ['drain', '', false],
    ['drain', 'mini', true],
    ['cleanUp'],
    ['compare', 'mini', 1, 2],
  ]);
});

test('the admin key comes by flag or environment, and is asked for', async () => {
  const { run, asked } = await setUp({ adminKey: 'open sesame' });
  const refused = await run(['models', 'memory']);
  expect(refused.code).toBe(1);
  expect(refused.err).toMatch(
    /^error: the model server at .* says: admin calls need the admin key.*NEREID_ADMIN_KEY/,
  );
  expect((await run(['models', 'memory', '--admin-key', 'wrong'])).err).toMatch(/not the one of this server/);
  expect((await run(['models', 'memory', '--admin-key', 'open sesame'])).code).toBe(0);
  expect((await run(['models', 'clean-up'], { NEREID_ADMIN_KEY: 'open sesame' })).code).toBe(0);
  expect(asked).toEqual([['cleanUp']]);
});

test('what the server says is told, even that it can not do it now', async () => {
  const load = () => Promise.reject(new ServingError('MODEL_NOT_READY', 'mini 1 is loading'));
  const { run } = await setUp({ admin: fakeAdmin({ load }) });
  const { code, err } = await run(['models', 'load', 'mini']);
  expect(code).toBe(1);
  expect(err).toMatch(/^error: the model server at 127\.0\.0\.1:\d+ says: mini 1 is loading$/);
  const nobody = await nereid(['models', 'memory', '--server-address', '127.0.0.1:1']);
  expect(nobody.err).toMatch(/^error: no model server answers at 127\.0\.0\.1:1 /);
});

test.each([
  [['models', 'bogus'], "error: too many arguments for 'models'. Expected 0 arguments but got 1."],
  [['models', 'show'], "error: missing required argument 'model'"],
  [
    ['models', 'show', 'm', '--version', 'x'],
    "error: option '--version <n>' argument 'x' is invalid. It must be a version: a whole number, at least 1.",
  ],
  [
    ['models', 'compare', 'm', '0', '1'],
    "error: command-argument value '0' is invalid for argument 'a'. It must be a version: a whole number, at least 1.",
  ],
])('wrong usage ends with 2: %j', async (args, message) => {
  const { code, err } = await nereid(args);
  expect([code, err.split('\n')[0]]).toEqual([2, message]);
});
