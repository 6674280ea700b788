import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { mallocVariables } from '../../cli/launch/memory-tuning.ts';
import { inCheckout, nereid, type Spawned, spawnNode } from './spawned.ts';

const freePorts = ['--port', '0', '--grpc-port', '0', '--http-port', '0', '--metrics-port', '0'];

interface Up extends Spawned {
  folder: string;
  url: string;
  grpc: string;
}

/** The real programs on free ports, with an empty store. */
async function up(...flags: string[]): Promise<Up> {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-up-'));
  const args = ['up', '--json', '--no-samples', ...freePorts, ...flags];
  const spawned = spawnNode(inCheckout('cli/nereid.ts'), args, { cwd: folder });
  onTestFinished(async () => {
    spawned.child.kill('SIGKILL');
    await spawned.ended;
    rmSync(folder, { recursive: true, force: true, maxRetries: 20 });
  });
  const { port, grpcPort } = JSON.parse(await spawned.line(/"type":"ready"/));
  return { ...spawned, folder, url: `http://127.0.0.1:${port}`, grpc: `127.0.0.1:${grpcPort}` };
}

/** Process ids of the children. */
const childrenOf = (pid: number | undefined) =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);

const commandLine = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');

test('up, ingest, ask, search, Ctrl-C: the way of a newcomer, on any free ports', async () => {
  const run = await up();
  writeFileSync(
    join(run.folder, 'lake.md'),
    '# Lake\n\nThe deepest lake of the valley is called Brunnensee. Ships may not sail there.\n',
  );
  const ingested = await nereid(['ingest', 'lake.md', '--url', run.url], { cwd: run.folder });
  expect(ingested.out).toMatch(/lake\.md +ready .*\n\n1 ready, 0 unchanged, 0 failed$/);
  const again = await nereid(['ingest', 'lake.md', '--url', run.url], { cwd: run.folder });
  expect(again.out).toMatch(/0 ready, 1 unchanged, 0 failed$/);
  const asked = await nereid(['ask', 'What is the deepest lake called?', '--url', run.url]);
  expect([asked.code, asked.err]).toEqual([0, '']);
  expect(asked.out).toMatch(/Brunnensee.*Sources:\n {2}\[1\] Lake\n.*Extractive:/s);
  const found = await nereid(['search', 'lake', '--url', run.url, '--json']);
  expect(JSON.parse(found.out).hits[0].document_id).toBe('lake.md');
  run.child.kill('SIGINT');
  expect(await run.ended).toEqual({ code: 0, signal: null });
});

test.runIf(process.platform === 'linux')(
  'a killed server comes back under its old port, with its memory settings',
  async () => {
    const run = await up();
    const server = childrenOf(run.child.pid).find((pid) => commandLine(pid).includes('serve'))!;
    const environment = readFileSync(`/proc/${server}/environ`, 'utf8').split('\0');
    for (const [name, value] of Object.entries(mallocVariables.serve))
      expect(environment).toContain(`${name}=${value}`);
    process.kill(server, 'SIGKILL');
    await vi.waitFor(() => expect(run.stderr).toContain('server: is ready again'), {
      timeout: 50_000,
    });
    expect((await nereid(['models', '--server-address', run.grpc])).out).toContain('ready');
    run.child.kill('SIGTERM');
    expect(await run.ended).toEqual({ code: 0, signal: null });
  },
);

test.runIf(process.platform === 'linux')('when up is killed, both programs end', async () => {
  const run = await up();
  const children = childrenOf(run.child.pid);
  expect(children).toHaveLength(2);
  run.child.kill('SIGKILL');
  await vi.waitFor(() => expect(children.filter(isRunning)).toEqual([]), { timeout: 50_000 });
});

/** A process that has ended but that nobody has waited for is a zombie, and does not count. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test('a port that is taken ends it with 1 and the reason, and leaves nothing running', async () => {
  const first = await up();
  const { port } = new URL(first.url);
  const { code, out, err } = await nereid([
    'up',
    '--json',
    '--no-samples',
    ...freePorts.slice(2),
    '--port',
    port,
    '--data-dir',
    join(first.folder, 'other'),
  ]);
  expect(code).toBe(1);
  expect(out).toMatch(new RegExp(`Port ${port} on 127\\.0\\.0\\.1 is taken`));
  expect(err).toMatch(/^nereid: rag ended with code 1 before it was ready; it is not started again/m);
});
