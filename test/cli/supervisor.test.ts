import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { SuperviseOptions } from '../fixtures/cli/supervise.ts';
import { inCheckout, type Spawned, spawnNode } from './spawned.ts';

interface Up extends Spawned {
  journal: () => string[];
  ready: () => Promise<Record<string, number>>;
  notices: () => string[];
  /** Process id of the n-th start of a program. */
  pid: (name: string, start?: number) => Promise<number>;
}

function up(options: Omit<SuperviseOptions, 'journal'> = {}): Up {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-up-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'journal');
  writeFileSync(file, '');
  const spawned = spawnNode(inCheckout('test/fixtures/cli/supervise.ts'), [
    JSON.stringify({ ...options, journal: file }),
  ]);
  const journal = () => readFileSync(file, 'utf8').split('\n').filter(Boolean);
  return {
    ...spawned,
    journal,
    ready: async () => JSON.parse(await spawned.line(/"type":"ready"/)).ports,
    notices: () =>
      spawned.stdout
        .map((line) => JSON.parse(line))
        .filter(({ type }) => type === 'notice')
        .map(({ name, notice }) => `${name} ${notice}`),
    pid: (name, start = 1) =>
      vi.waitFor(
        () => {
          const starts = journal().filter((event) => event.startsWith(`${name} started`));
          const event = starts[start - 1];
          if (event === undefined) throw new Error(`${name} was started ${starts.length} times`);
          return Number(event.split(' ')[2]);
        },
        { timeout: 50_000 },
      ),
  };
}

/** A key press once more, for as long as the process is there: the first repetition may count as the same press. */
async function pressAgainUntilEnd({ child, ended }: Spawned): Promise<{ code: number | null }> {
  const timer = setInterval(() => child.kill('SIGINT'), 100);
  return ended.finally(() => clearInterval(timer));
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

test('is ready when every program answers, and tells a later program the ports of the earlier', async () => {
  const run = up();
  const ports = await run.ready();
  expect(Object.keys(ports)).toEqual(['serverPort', 'ragPort']);
  const rag = run.stdout
    .map((line) => JSON.parse(line))
    .find(({ name, line }) => name === 'rag' && /started/.test(line));
  expect(JSON.parse(JSON.parse(rag.line).known)).toEqual({ serverPort: ports.serverPort });
});

test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s drains both, the later program first, and ends with 0',
  async (signal) => {
    const run = up();
    await run.ready();
    run.child.kill(signal);
    expect(await run.ended).toEqual({ code: 0, signal: null });
    expect(run.journal().slice(2)).toEqual([
      'rag draining',
      'rag drained',
      'server draining',
      'server drained',
    ]);
  },
);

test('a second Ctrl-C ends at once although a program does not drain', async () => {
  const run = up({ behaviour: { rag: 'never-drains' } });
  const { ragPort, serverPort } = await run.ready();
  run.child.kill('SIGINT');
  await vi.waitFor(() => expect(run.journal()).toContain('rag draining'), { timeout: 50_000 });
  expect((await pressAgainUntilEnd(run)).code).toBe(130);
  await vi.waitFor(async () =>
    expect([await isListening(ragPort!), await isListening(serverPort!)]).toEqual([false, false]),
  );
});

test('the copy of Ctrl-C that npm sends along does not cut the drain short', async () => {
  const run = up();
  await run.ready();
  run.child.kill('SIGINT');
  run.child.kill('SIGINT');
  expect(await run.ended).toEqual({ code: 0, signal: null });
  expect(run.journal().slice(2)).toEqual([
    'rag draining',
    'rag drained',
    'server draining',
    'server drained',
  ]);
});

test('a program that does not drain in its time is killed, and the others still drain', async () => {
  const run = up({ behaviour: { rag: 'never-drains' }, graceMs: 1_500 });
  await run.ready();
  run.child.kill('SIGINT');
  expect((await run.ended).code).toBe(0);
  expect(run.notices()).toContain('rag did not stop within 1500 ms and is killed');
  expect(run.journal().slice(2)).toEqual(['rag draining', 'server draining', 'server drained']);
});

test('a killed program comes back on the same port, and the other one is left alone', async () => {
  const run = up();
  const { serverPort } = await run.ready();
  process.kill(await run.pid('server'), 'SIGKILL');
  await run.pid('server', 2);
  await run.line(/is ready again/);
  expect(await isListening(serverPort!)).toBe(true);
  expect(run.notices()).toContain('server was ended by SIGKILL; it is started again in 1 ms');
  expect(run.journal().filter((event) => event.startsWith('rag started'))).toHaveLength(1);
});

test('a program that keeps dying is given up: the other one drains and the exit code is 1', async () => {
  const run = up({ restart: { firstMs: 1, longestMs: 1, most: 2, windowMs: 3_600_000 } });
  await run.ready();
  for (const start of [1, 2, 3]) process.kill(await run.pid('server', start), 'SIGKILL');
  expect((await run.ended).code).toBe(1);
  expect(run.notices().at(-1)).toMatch(
    /^up server was ended by SIGKILL; that was death number 3 within 3600 s/,
  );
  expect(run.journal().slice(-2)).toEqual(['rag draining', 'rag drained']);
});

test('a program that fails before it was ready is not tried again', async () => {
  const run = up({ behaviour: { rag: 'fails-at-start' } });
  expect((await run.ended).code).toBe(1);
  expect(run.notices().at(-1)).toBe('up rag ended with code 3 before it was ready; it is not started again');
  expect(run.stdout.some((line) => line.includes('rag has no luck'))).toBe(true);
  expect(run.journal().slice(1)).toEqual(['server draining', 'server drained']);
});

test('when up itself is killed, its programs drain and end', async () => {
  const run = up();
  const { serverPort, ragPort } = await run.ready();
  run.child.kill('SIGKILL');
  await vi.waitFor(
    async () => {
      expect(run.journal()).toContain('server drained');
      expect(run.journal()).toContain('rag drained');
      expect([await isListening(ragPort!), await isListening(serverPort!)]).toEqual([false, false]);
    },
    { timeout: 50_000 },
  );
});
