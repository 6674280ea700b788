import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { mallocVariables, missingMalloc, missingV8Flags, v8Flags } from '../../cli/launch/memory-tuning.ts';
import { inCheckout, nereid, type Spawned, spawnNode } from './spawned.ts';

const freePorts = ['--grpc-port', '0', '--http-port', '0', '--metrics-port', '0'];

async function serve(...flags: string[]): Promise<Spawned & { ports: Record<string, number> }> {
  const spawned = spawnNode(inCheckout('cli/nereid.ts'), ['serve', ...freePorts, ...flags]);
  return { ...spawned, ports: JSON.parse(await spawned.line(/"grpcPort"/)) };
}

test("only what is missing of the allocator's variables is set, and only on Linux", () => {
  expect(missingMalloc('serve', { env: {}, platform: 'linux' })).toEqual(mallocVariables.serve);
  const own = { MALLOC_ARENA_MAX: '4' };
  expect(missingMalloc('serve', { env: own, platform: 'linux' })).not.toHaveProperty('MALLOC_ARENA_MAX');
  expect(missingMalloc('serve', { env: { ...mallocVariables.serve }, platform: 'linux' })).toEqual({});
  expect(missingMalloc('rag', { env: {}, platform: 'darwin' })).toEqual({});
});

test("V8's flags are set unless the command line or NODE_OPTIONS has its own", () => {
  expect(missingV8Flags([])).toEqual(v8Flags);
  const rest = ['--no-memory-protection-keys'];
  expect(missingV8Flags(['--max-semi-space-size=32'])).toEqual(rest);
  expect(missingV8Flags(rest, '--inspect --max-semi-space-size=32')).toEqual([]);
});

test.runIf(process.platform === 'linux')(
  "the server's process was started with the allocator's variables, and keeps its id",
  async () => {
    const { child } = await serve();
    const environment = readFileSync(`/proc/${child.pid}/environ`, 'utf8').split('\0');
    for (const [name, value] of Object.entries(mallocVariables.serve))
      expect(environment).toContain(`${name}=${value}`);
  },
);

test.each(['SIGINT', 'SIGTERM'] as const)('%s drains the model server and ends it with 0', async (signal) => {
  const { child, ended, ports, stderr } = await serve();
  expect((await fetch(`http://127.0.0.1:${ports.httpPort}/readyz`)).status).toBe(200);
  child.kill(signal);
  expect(await ended).toEqual({ code: 0, signal: null });
  expect(stderr).toEqual([]);
});

test('models lists what the server has, as a table and as JSON', async () => {
  const { ports } = await serve('--instances', '1');
  const address = ['--server-address', `127.0.0.1:${ports.grpcPort}`];
  const { out, code } = await nereid(['models', ...address]);
  expect(code).toBe(0);
  expect(out).toMatch(/^NAME +VERSION +STATE/);
  expect(out).toMatch(/all-minilm-l6-v2 +1 +ready +embed,rerank,infer +384/);
  const { models } = JSON.parse((await nereid(['models', '--json', ...address])).out);
  expect(models[0]).toMatchObject({ name: 'all-minilm-l6-v2', state: 'ready', dimension: 384 });
});

test('models says how to start a server when there is none', async () => {
  const { code, err } = await nereid(['models', '--server-address', '127.0.0.1:1']);
  expect(code).toBe(1);
  expect(err).toMatch(/^error: no model server answers at 127\.0\.0\.1:1 .*Start it with: npm start/);
});

test('a model repository that is not there ends it with the reason, without a stack', async () => {
  const { code, err } = await nereid(['serve', ...freePorts, '--model-repository', 'nowhere']);
  expect(code).toBe(1);
  expect(err).toMatch(/^error: MODEL_CONFIG_INVALID: the model repository .*nowhere is not a folder/);
  expect(err.split('\n')).toHaveLength(1);
});
