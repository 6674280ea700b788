import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hasShared, shared } from '../shared.ts';
import { fakeHub } from './fake-hub.ts';
import { checkManifest, embedderFiles, embedderTargets, emptyFolder, fill } from './pull-setup.ts';
import { inCheckout, nereid, spawnNode } from './spawned.ts';

const MODEL = 'onnx/model.onnx';

/** The command in a folder of its own, with the fake as its hub. */
function setting(hubUrl: string, more: Record<string, string> = {}) {
  const cwd = emptyFolder();
  const repository = join(cwd, 'models');
  const env = { HF_ENDPOINT: hubUrl, HF_TOKEN: '', NEREID_MODEL_REPOSITORY: repository, ...more };
  return { repository, options: { cwd, env } };
}

test('pulls from the hub, tells each file, and says where the version is', async () => {
  const hub = await fakeHub({ files: embedderFiles(), lfs: [MODEL] });
  const { repository, options } = setting(hub.url, { HF_TOKEN: 'hf_topsecret' });
  const { code, out, err } = await nereid(['pull', 'acme/Tiny-Embedder@main'], options);
  expect(err).toContain('onnx/model.onnx: full precision by its name');
  expect(err).toContain('there are also onnx/model_int8.onnx');
  expect(err).toMatch(/^got tokenizer\.json \(17 B\)$/m);
  const folder = join(repository, 'tiny-embedder', '1');
  expect([code, out]).toEqual([0, `tiny-embedder version 1 is in ${folder}`]);
  expect(checkManifest(folder)).toEqual(embedderTargets);
  expect(hub.requests[0]!.authorization).toBe('Bearer hf_topsecret');
  expect(out + err).not.toContain('topsecret');

  const again = await nereid(['pull', 'acme/Tiny-Embedder'], options);
  expect([again.code, again.out]).toEqual([
    0,
    'tiny-embedder version 1 is onnx/model.onnx of the same snapshot already; --force makes a new version',
  ]);
});

test.skipIf(process.platform !== 'linux')('sha256sum agrees with the manifest', async () => {
  const { repository, options } = setting('http://127.0.0.1:1');
  fill(
    options.cwd,
    Object.fromEntries(Object.entries(embedderFiles()).map(([path, content]) => [`m/${path}`, content])),
  );
  expect((await nereid(['pull', './m', '--name', 'mine'], options)).code).toBe(0);
  const said = execFileSync('sha256sum', ['-c', 'SHA256SUMS'], {
    cwd: join(repository, 'mine', '1'),
    encoding: 'utf8',
  });
  expect(said.trimEnd().split('\n')).toHaveLength(embedderTargets.length + 1);
});

test('--list shows what there is and pulls nothing', async () => {
  const hub = await fakeHub({ files: embedderFiles(), lfs: [MODEL] });
  const { repository, options } = setting(hub.url);
  const { code, out } = await nereid(['pull', 'acme/Tiny-Embedder', '--list'], options);
  expect([code, existsSync(repository)]).toEqual([0, false]);
  expect(out.split('\n').slice(0, 3)).toEqual([
    '   FILE                  PRECISION  MADE FOR  SIZE',
    expect.stringMatching(/^\* {2}onnx\/model\.onnx {7}fp32 {7}- {9}\d+ B$/),
    expect.stringMatching(/^ {3}onnx\/model_int8\.onnx {2}int8 {7}- {9}\d+ B$/),
  ]);
});

test('--list of several networks shows them, and says that one must be chosen', async () => {
  const { options } = setting('http://127.0.0.1:1');
  fill(options.cwd, { 'm/text_model.onnx': 'a', 'm/vision_model.onnx': 'b' });
  const { code, out } = await nereid(['pull', './m', '--list'], options);
  expect([code, out.split('\n').slice(1, 3)]).toEqual([
    0,
    [expect.stringMatching(/^ {2}text_model\.onnx /), expect.stringMatching(/^ {2}vision_model\.onnx /)],
  ]);
  expect(out).toMatch(/2 networks \(text_model, vision_model\); choose one with --file/);
});

test('--json tells events and the result as lines', async () => {
  const hub = await fakeHub({ files: embedderFiles(), lfs: [MODEL] });
  const { options } = setting(hub.url);
  const { code, out, err } = await nereid(
    ['pull', 'acme/Tiny-Embedder', '--json', '--variant', 'int8'],
    options,
  );
  const events = out.split('\n').map((line) => JSON.parse(line));
  expect([code, err]).toEqual([0, '']);
  expect(events[0]).toMatchObject({ event: 'chosen', file: 'onnx/model_int8.onnx', precision: 'int8' });
  expect(events.filter(({ event }) => event === 'file_done')).toHaveLength(embedderTargets.length);
  expect(events.at(-1)).toMatchObject({ event: 'done', name: 'tiny-embedder', version: 1, unchanged: false });
  const failed = await nereid(['pull', 'acme/other', '--json'], options);
  expect(failed.code).toBe(1);
  expect(JSON.parse(failed.out)).toMatchObject({
    event: 'failed',
    message: expect.stringContaining('no model acme/other'),
  });
});

/** A pull by the command line that has got a part of the weights, from a hub that then holds the rest back. */
async function halfPulled() {
  const files = embedderFiles({ bytes: 200_000 });
  const content = files[MODEL] as Uint8Array;
  const state = { held: true };
  const hub = await fakeHub({
    files,
    lfs: [MODEL],
    handle: ({ host }, response) => {
      if (host !== 'cdn' || !state.held) return false;
      response.writeHead(200, { 'content-length': content.length });
      response.write(content.subarray(0, 50_000));
      return true;
    },
  });
  const { repository, options } = setting(hub.url);
  const args = ['pull', 'acme/Tiny-Embedder', '--json'];
  const running = spawnNode(inCheckout('cli/nereid.ts'), args, options);
  await running.line(/"file_progress"/);
  const again = async () => {
    state.held = false;
    expect((await nereid(args, options)).code).toBe(0);
    expect(hub.requests.find(({ range }) => range !== undefined)?.range).toMatch(/^bytes=[1-9]\d{2,}-$/);
    checkManifest(join(repository, 'tiny-embedder', '1'));
    expect(readdirSync(join(repository, 'tiny-embedder'))).toEqual(['1']);
  };
  return { running, modelFolder: join(repository, 'tiny-embedder'), again };
}

test('Ctrl-C keeps what has arrived, says how to go on, and the same command does', async () => {
  const { running, modelFolder, again } = await halfPulled();
  running.child.kill('SIGINT');
  expect((await running.ended).code).toBe(130);
  expect(running.stderr.join('\n')).toBe(
    'error: interrupted, and no version was made. What has arrived is kept; go on with: nereid pull acme/Tiny-Embedder --json',
  );
  expect(readdirSync(modelFolder)).toEqual([expect.stringMatching(/^\.pull-\w+$/)]);
  await again();
});

test('a killed pull leaves its lock and no version, and the same command goes on', async () => {
  const { running, modelFolder, again } = await halfPulled();
  running.child.kill('SIGKILL');
  await running.ended;
  const left = readdirSync(modelFolder).sort();
  expect(left).toEqual([expect.stringMatching(/^\.pull-\w+$/), expect.stringMatching(/^\.pull-\w+\.lock$/)]);
  await again();
});

test.each([
  [['pull'], "error: missing required argument 'source'"],
  [['pull', 'a/b/c'], 'error: "a/b/c" is neither a hub id (owner/name@revision) nor a path (./folder).'],
  [['pull', './x', '--name', '../y'], 'error: --name "../y" can\'t name a model'],
  [['pull', 'a/b', '--variant', 'int3'], "error: option '--variant <precision>' argument 'int3' is invalid."],
  [['pull', 'a/b', '--max-bytes', '-1'], "error: option '--max-bytes <n>' argument '-1' is invalid."],
])('wrong usage ends with 2: %j', async (args, message) => {
  const { code, err } = await nereid(args);
  expect([code, err.startsWith(message)]).toEqual([2, true]);
});

test('--help gives examples and the exit codes', async () => {
  const { code, out } = await nereid(['pull', '--help']);
  expect(code).toBe(0);
  expect(out).toContain('Usage: nereid pull');
  expect(out).toMatch(/Examples:\n( {2}.*\n)* {2}.*nereid pull/);
  expect(out).toContain('Exit codes: 0 done');
});

test.skipIf(!hasShared)('a pulled model is served as it is', async () => {
  const { repository, options } = setting('http://127.0.0.1:1');
  expect((await nereid(['pull', shared('models', 'tiny-cross-encoder')], options)).code).toBe(0);
  const ports = ['--grpc-port', '0', '--http-port', '0', '--metrics-port', '0'];
  const args = ['serve', '--model-repository', repository, ...ports];
  const server = spawnNode(inCheckout('cli/nereid.ts'), args, options);
  await server.line(/"model":"tiny-cross-encoder","version":1,"state":"ready"/);
});
