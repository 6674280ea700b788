import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { canListChildren, childrenOf, isAlive } from './child-processes.ts';
import { eventually } from './pool-setup.ts';

const program = fileURLToPath(new URL('../fixtures/workers/server.ts', import.meta.url));

const servers: ChildProcess[] = [];

async function startServer(...args: string[]): Promise<{ server: ChildProcess; children: number[] }> {
  const server = spawn(process.execPath, [program, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  servers.push(server);
  await once(server.stdout!, 'data');
  return { server, children: childrenOf(server.pid!) };
}

const allGone = (pids: number[]) => eventually(() => expect(pids.filter(isAlive)).toEqual([]));

describe.skipIf(!canListChildren)('processes of instances', () => {
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
