import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { loadConfig } from '../../cli/config/config.ts';
import { cgroupLimits } from '../../cli/doctor/cgroup.ts';
import { diskCheck } from '../../cli/doctor/disk.ts';
import { cosine } from '../../cli/doctor/models.ts';
import { portChecks } from '../../cli/doctor/ports.ts';
import { remoteChecks } from '../../cli/doctor/remotes.ts';
import { inCheckout, nereid } from './spawned.ts';

const freePorts = ['--port', '0', '--grpc-port', '0', '--http-port', '0', '--metrics-port', '0'];
// Nothing can listen there, so the doctor starts a server of its own.
const nobody = ['--server-address', '127.0.0.1:1'];

function folderWith(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-doctor-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

async function httpServer(
  answer: (path: string, headers: Record<string, unknown>) => { status?: number; body: unknown },
): Promise<number> {
  const server = createServer((request, response) => {
    const { status = 200, body } = answer(request.url ?? '', request.headers);
    response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const config = (env: Record<string, string>) => loadConfig({ env, cwd: folderWith({}) });

test('reads the limits of cgroup v2, the tightest of the group and those above it', () => {
  const root = folderWith({
    'proc/self/cgroup': '0::/pod/box\n',
    'sys/fs/cgroup/cgroup.controllers': 'cpu memory',
    'sys/fs/cgroup/pod/cpu.max': '150000 100000\n',
    'sys/fs/cgroup/pod/memory.max': 'max\n',
    'sys/fs/cgroup/pod/box/cpu.max': 'max 100000\n',
    'sys/fs/cgroup/pod/box/memory.max': '536870912\n',
  });
  expect(cgroupLimits(root)).toEqual({ version: 2, cpus: 1.5, memoryBytes: 536_870_912 });
});

test('reads the limits of cgroup v1, and of a container that sees only its own group', () => {
  const root = folderWith({
    'proc/self/cgroup': '4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n',
    'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '50000\n',
    'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
    'sys/fs/cgroup/memory/memory.limit_in_bytes': '1073741824\n',
  });
  expect(cgroupLimits(root)).toEqual({ version: 1, cpus: 0.5, memoryBytes: 1_073_741_824 });
});

test('no limit is none: v1 says so by -1 and by a huge number, other systems by no file', () => {
  const root = folderWith({
    'proc/self/cgroup': '4:memory:/\n3:cpu:/\n',
    'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
    'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
    'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
  });
  expect(cgroupLimits(root)).toEqual({ version: 1, cpus: undefined, memoryBytes: undefined });
  expect(cgroupLimits(folderWith({}))).toEqual({
    version: undefined,
    cpus: undefined,
    memoryBytes: undefined,
  });
});

test('tells a port of Nereid from a port of another program and from a free one', async () => {
  const own = await httpServer(() => ({ body: { name: 'nereid', version: '1' } }));
  const metrics = await httpServer(() => ({ body: 'nereid_requests_total 1' }));
  const foreign = await httpServer(() => ({ body: 'hello' }));
  const ports = {
    NEREID_PORT: String(own),
    NEREID_METRICS_PORT: String(metrics),
    NEREID_HTTP_PORT: String(foreign),
    NEREID_GRPC_PORT: '0',
  };
  const checks = await portChecks(config(ports));
  expect(checks.map(({ status, found }) => [status, found])).toEqual([
    ['ok', '--port: in use by a Nereid orchestrator'],
    ['ok', 'any free port'],
    ['fail', '--http-port: in use by another program'],
    ['ok', '--metrics-port: in use by a Nereid model server'],
  ]);
  expect(checks[2]?.advice).toContain('--http-port');
});

test('says whether Qdrant and the chat model answer, and never shows a key', async () => {
  const port = await httpServer((path, headers) => {
    if (path === '/collections') return { status: headers['api-key'] === 'right' ? 200 : 401, body: {} };
    return { status: headers.authorization === 'Bearer right' ? 200 : 401, body: { data: [{ id: 'qwen' }] } };
  });
  const url = `http://127.0.0.1:${port}`;
  const look = async (key: string, model: string) =>
    remoteChecks(
      config({
        QDRANT_URL: url,
        QDRANT_API_KEY: key,
        LLM_BASE_URL: `${url}/v1`,
        LLM_API_KEY: key,
        LLM_MODEL: model,
      }),
    );
  expect((await look('right', 'qwen')).map(({ status }) => status)).toEqual(['ok', 'ok']);
  expect((await look('right', 'other'))[1]).toMatchObject({
    status: 'warn',
    advice: 'set LLM_MODEL to one of: qwen',
  });
  const refused = await look('hush-hush', 'qwen');
  expect(refused.map(({ status }) => status)).toEqual(['fail', 'fail']);
  expect(JSON.stringify(refused)).not.toContain('hush-hush');
});

test('what is not configured is no fault', async () => {
  expect((await remoteChecks(config({}))).map(({ status }) => status)).toEqual(['ok', 'ok']);
});

test('the data folder may still have to be made', async () => {
  const folder = folderWith({});
  const check = await diskCheck(join(folder, 'not/yet'));
  expect(check.status).toBe('ok');
  expect(check.found).toContain('(not made yet)');
});

test('cosine', () => {
  expect(cosine([1, 0], [1, 0])).toBe(1);
  expect(cosine([1, 0], [0, 2])).toBe(0);
  expect(cosine([1, 1], [2, 2])).toBeCloseTo(1);
  expect(cosine([1], [])).toBe(0);
});

test('the shipped model passes its self-check, and every check has a name and a finding', async () => {
  const { code, out } = await nereid(['doctor', '--json', ...freePorts, ...nobody], { cwd: folderWith({}) });
  const { ok, checks } = JSON.parse(out);
  expect([code, ok]).toEqual([0, true]);
  const model = checks.find(({ name }: { name: string }) => name === 'model all-minilm-l6-v2');
  expect(model).toMatchObject({ status: 'ok', data: { state: 'ready' } });
  expect(model.data.least_cosine).toBeGreaterThanOrEqual(model.data.needed_cosine);
  const providers = checks.find(({ name }: { name: string }) => name === 'execution providers');
  expect(providers.data.available).toContain('cpu');
  expect(providers.data.chosen).toEqual(['cpu']);
  for (const check of checks) expect([check.name, check.found].every((text) => text.length > 0)).toBe(true);
});

test('a model whose vectors are not those of its reference fails, with the cosine', async () => {
  const folder = folderWith({});
  const model = join(folder, 'models/all-minilm-l6-v2');
  cpSync(inCheckout('model-repository/all-minilm-l6-v2'), model, { recursive: true });
  const golden = JSON.parse(readFileSync(join(model, 'golden.json'), 'utf8'));
  golden.cases[1].embedding = golden.cases[0].embedding;
  writeFileSync(join(model, 'golden.json'), JSON.stringify(golden));
  const { code, out } = await nereid(['doctor', '--model-repository', 'models', ...freePorts, ...nobody], {
    cwd: folder,
  });
  expect(code).toBe(1);
  expect(out).toMatch(/FAIL {2}model all-minilm-l6-v2 .*least cosine 0\.\d+/);
  expect(out).toMatch(/-> it must be at least 0\.\d+/);
});

test('a model that does not load is a failure that names the file', async () => {
  const folder = folderWith({ 'models/broken/1/model.onnx': 'not a model' });
  copyFileSync(
    inCheckout('model-repository/all-minilm-l6-v2/config.pbtxt'),
    join(folder, 'models/broken/config.pbtxt'),
  );
  const { code, out } = await nereid(['doctor', '--model-repository', 'models', ...freePorts, ...nobody], {
    cwd: folder,
  });
  expect(code).toBe(1);
  expect(out).toMatch(/FAIL {2}models? .*broken/);
});
