import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { eventually } from './pool-setup.ts';

const program = fileURLToPath(new URL('../fixtures/workers/server.ts', import.meta.url));
const isLinux = process.platform === 'linux';
if (!isLinux)
  console.log('skipped aloud: the children of a process are read from /proc, which is Linux only');

const servers: ChildProcess[] = [];

async function startServer(...args: string[]): Promise<{ server: ChildProcess; children: number[] }> {
  const server = spawn(process.execPath, [program, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  servers.push(server);
  await once(server.stdout!, 'data');
  return { server, children: childrenOf(server.pid!) };
}

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);

/** A zombie that nobody has waited for is dead. */
function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

const allGone = (pids: number[]) => eventually(() => expect(pids.filter(isAlive)).toEqual([]));

describe.skipIf(!isLinux)('processes of instances', () => {
  afterEach(() => {
    for (const server of servers.splice(0)) server.kill('SIGKILL');
  });

  it.each([[[]], [['hang']]])('do not outlive a server that is killed (%j)', async (args) => {
    const { server, children } = await startServer(...args);
    expect(children).toHaveLength(2);
    server.kill('SIGKILL');
    await allGone(children);
  });

  it('outlive signals that are meant for the server, and go when it closes them', async () => {
    const { server, children } = await startServer();
    for (const child of children) {
      process.kill(child, 'SIGTERM');
      process.kill(child, 'SIGINT');
    }
    expect(children.every(isAlive)).toBe(true);
    server.stdin!.end();
    const [code] = await once(server, 'exit');
    expect(code).toBe(0);
    await allGone(children);
  });
});
