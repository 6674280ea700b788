import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Target } from '../../model-server/models/target.ts';
import { eventually } from './eventually.ts';
import { type Harness, type HarnessOptions, startLifecycle, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';
import { hold, killAt, liveWorkers, resetWorkers } from './watched-workers.ts';

vi.mock('../../model-server/executor/thread-channel.ts', async (original) =>
  (await import('./watched-workers.ts')).watched(await original()),
);

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  resetWorkers();
  for (const undo of cleanUp.splice(0).reverse()) await undo();
  expect(liveWorkers.size).toBe(0);
});

const NEAR = 'same_space: [1, 2]\n';
const STABLE = 'default: stable\naliases: { stable: { 1: 100 } }\n';

/** Model m with versions 1 and 2, whose vectors are near, and its rollout.yaml. */
function repository(rollout: string): { folder: string; file: string; write(yaml: string): void } {
  const { path: folder, remove } = temporaryFolder();
  cleanUp.push(remove);
  writeTextModel(folder, 'm');
  writeTextModel(folder, 'm', { version: 2, noise: 0.05 });
  const file = join(folder, 'm', 'rollout.yaml');
  const write = (yaml: string) => writeFileSync(file, yaml);
  write(rollout);
  return { folder, file, write };
}

async function start(rollout: string, options: HarnessOptions = {}) {
  const { folder, ...rest } = repository(rollout);
  return { ...rest, server: await startLifecycle(folder, options) };
}

const ask = (server: Harness, text: string, more: Partial<Target> = {}) =>
  server.lifecycle.serving.embed(target('m', more), [text], { truncate: 'end' });
const versionOf = async (server: Harness, text: string, more: Partial<Target> = {}) =>
  (await ask(server, text, more)).ref.version;
const rolloutOf = (server: Harness) => server.lifecycle.registry.model('m').rollout;
const caught = (promise: Promise<unknown>) => promise.catch((error: unknown) => error);
const names = (count: number, prefix = 'k') => Array.from({ length: count }, (_, i) => `${prefix}${i}`);

describe('an alias with weights', () => {
  const yaml = `${NEAR}default: stable\naliases: { stable: { 1: 90, 2: 10 }, next: { 2: 1 } }\n`;

  it('shares requests by weight, and each key stays with its version, whatever it asks', async () => {
    await using server = (await start(yaml)).server;
    const keys = names(400);
    const first = await Promise.all(keys.map((stickyKey) => versionOf(server, 'a text', { stickyKey })));
    const second = await Promise.all(keys.map((stickyKey) => versionOf(server, 'another', { stickyKey })));
    expect(second).toEqual(first);
    const share = first.filter((version) => version === 2).length / keys.length;
    expect(share).toBeGreaterThan(0.04);
    expect(share).toBeLessThan(0.18);
  });

  it('goes by the text where there is no key', async () => {
    await using server = (await start(yaml)).server;
    const texts = names(200, 'text ');
    const first = await Promise.all(texts.map((text) => versionOf(server, text)));
    expect(await Promise.all(texts.map((text) => versionOf(server, text)))).toEqual(first);
    expect(new Set(first)).toEqual(new Set([1, 2]));
  });

  it('a version that is named always wins, and another alias is followed', async () => {
    await using server = (await start(yaml)).server;
    for (const stickyKey of names(20)) {
      expect(await versionOf(server, 'a', { stickyKey, version: 1 })).toBe(1);
      expect(await versionOf(server, 'a', { stickyKey, version: 2 })).toBe(2);
      expect(await versionOf(server, 'a', { stickyKey, alias: 'next' })).toBe(2);
    }
    expect(await caught(ask(server, 'a', { alias: 'nope' }))).toMatchObject({ reason: 'VERSION_NOT_FOUND' });
  });

  it('claims one space for versions that the operator calls alike', async () => {
    await using server = (await start(yaml)).server;
    const [one, two] = await Promise.all([
      ask(server, 'a', { version: 1 }),
      ask(server, 'a', { version: 2 }),
    ]);
    expect(two.ref.space).toBe(one.ref.space);
    expect(two.vectors).not.toEqual(one.vectors);
  });

  it('gives the share of a version that has failed to the others', async () => {
    const { server } = await start(`${NEAR}default: stable\naliases: { stable: { 1: 50, 2: 50 } }\n`, {
      defaults: { maxRespawns: 0 },
    });
    await using _ends = server;
    killAt('run', 'm/2');
    await caught(ask(server, 'a', { version: 2 }));
    const versions = await Promise.all(names(30).map((stickyKey) => versionOf(server, 'a', { stickyKey })));
    expect(new Set(versions)).toEqual(new Set([1]));
  });
});

describe('a shadow', () => {
  const yaml = `${NEAR}${STABLE}shadow: { version: 2, percent: 100 }\n`;

  it('is compared with every answer, and changes none', async () => {
    await using server = (await start(yaml)).server;
    const texts = names(40, 'text ');
    for (const text of texts) {
      const { ref, vectors } = await ask(server, text);
      expect(ref.version).toBe(1);
      expect(vectors).toEqual((await ask(server, text, { version: 1 })).vectors);
      await rolloutOf(server).idle();
    }
    const [shadow] = server.admin.rolloutStatus('m').shadows;
    expect(shadow).toMatchObject({ version: 2, against: 1, errors: 0 });
    expect(shadow!.requests).toBeGreaterThanOrEqual(texts.length);
    expect(shadow!.cosine!.mean).toBeGreaterThan(0.99);
    expect(shadow!.cosine!.mean).toBeLessThan(1);
    expect(shadow!.latencyRatio!.count).toBe(shadow!.requests);
  });

  it('that is stuck holds up nobody', async () => {
    await using server = (await start(yaml)).server;
    const held = hold('run', 'm/2');
    for (const text of names(10, 'text ')) expect(await versionOf(server, text)).toBe(1);
    await held.reached;
    held.release();
    await rolloutOf(server).idle();
    // A few run at a time; what came on top was left out, and is told.
    const [shadow] = server.admin.rolloutStatus('m').shadows;
    expect(shadow!.errors).toBe(0);
    expect(shadow!.dropped).toBeGreaterThan(0);
    expect(shadow!.requests + shadow!.dropped).toBe(10);
  });

  it('that dies fails nobody, and is counted', async () => {
    const { server } = await start(yaml, { defaults: { maxRespawns: 0 } });
    await using _ends = server;
    killAt('run', 'm/2');
    expect(await versionOf(server, 'first')).toBe(1);
    await rolloutOf(server).idle();
    for (const text of names(5, 'text ')) expect(await versionOf(server, text)).toBe(1);
    await rolloutOf(server).idle();
    const [shadow] = server.admin.rolloutStatus('m').shadows;
    expect(shadow!.errors).toBe(6);
    expect(server.admin.rolloutStatus('m').traffic).toMatchObject([{ version: 1, requests: 6, errors: 0 }]);
  });
});

describe('a canary', () => {
  const plan = {
    alias: 'stable',
    from: 1,
    to: 2,
    steps: [1, 10, 50, 100],
    minRequests: 2,
    guards: { maxErrorRate: 0.05, minCosine: 0.95 },
  };

  it('goes from 1 % to all by itself under traffic; then the old version goes', async () => {
    const { server, file } = await start(`${NEAR}${STABLE}`);
    await using _ends = server;
    await server.admin.startCanary('m', plan);
    const percents = new Set<number>();
    for (let sent = 0; sent < 20_000; sent += 50) {
      const { canary } = server.admin.rolloutStatus('m');
      if (canary === undefined) break;
      percents.add(canary.percent);
      await Promise.all(names(50, `text ${sent} `).map((text) => ask(server, text)));
      await rolloutOf(server).idle();
    }
    const status = server.admin.rolloutStatus('m');
    expect([...percents]).toEqual([1, 10, 50, 100]);
    expect(status.plan.aliases).toEqual({ stable: { 2: 100 } });
    expect(status.decisions.map(({ what, by }) => `${what} by ${by}`)).toEqual([
      'promoted by schedule',
      'advanced by schedule',
      'advanced by schedule',
      'advanced by schedule',
      'started by command',
    ]);
    expect(status.decisions[0]!.why).toMatch(/minCosine 0\.99/);
    expect(readFileSync(file, 'utf8')).not.toContain('canary');
    await server.look();
    await eventually(() => expect(server.states()).toEqual({ 'm/2': 'ready' }));
    expect(await versionOf(server, 'a text')).toBe(2);
  });

  it('rolls back by itself when the new version fails, and callers may try again', async () => {
    const { server } = await start(`${NEAR}${STABLE}`);
    await using _ends = server;
    await server.admin.startCanary('m', { ...plan, steps: [50, 100], minRequests: 20 });
    // All that the new version has been handed dies with its worker.
    const held = hold('run', 'm/2');
    const requests = names(120, 'text ').map((text) => caught(ask(server, text)));
    (await held.reached).kill();
    held.release();
    const outcomes = await Promise.all(requests);
    await rolloutOf(server).idle();
    const failed = outcomes.filter((outcome) => outcome instanceof Error);
    expect(failed.length).toBeGreaterThan(1);
    for (const error of failed) expect(error).toMatchObject({ row: { retryable: true } });
    const { decisions, plan: after, canary } = server.admin.rolloutStatus('m');
    expect(canary).toBeUndefined();
    expect(decisions[0]).toMatchObject({ what: 'rolled back', by: 'guard' });
    expect(decisions[0]!.why).toMatch(/requests of version 2 failed/);
    expect(after.aliases.stable![1]).toBe(100);
    for (const text of names(30, 'later ')) expect(await versionOf(server, text)).toBe(1);
  });

  it('ends by command, either way', async () => {
    const { server } = await start(`${NEAR}${STABLE}`);
    await using _ends = server;
    await server.admin.startCanary('m', plan);
    await expect(server.admin.startCanary('m', plan)).rejects.toMatchObject({ reason: 'INVALID_INPUT' });
    await server.admin.rollBack('m');
    for (const text of names(20, 'text ')) expect(await versionOf(server, text)).toBe(1);
    await server.admin.startCanary('m', plan);
    const { decisions } = await server.admin.promote('m');
    expect(decisions.map(({ what, by }) => `${what} by ${by}`)).toEqual([
      'promoted by command',
      'started by command',
      'rolled back by command',
      'started by command',
    ]);
    for (const text of names(20, 'text ')) expect(await versionOf(server, text)).toBe(2);
    await server.look();
    await eventually(() => expect(server.states()).toEqual({ 'm/2': 'ready' }));
  });
});

describe('rollout.yaml', () => {
  it('is read again from time to time, and a wrong one leaves the plan in force and says why', async () => {
    const timers: { delayMs: number; task: () => void }[] = [];
    const { server, write } = await start(`${NEAR}${STABLE}`, {
      pollMs: 5000,
      after: (delayMs, task) => {
        timers.push({ delayMs, task });
        return () => undefined;
      },
    });
    await using _ends = server;
    const poll = () => timers.findLast(({ delayMs }) => delayMs === 5000)!.task();
    expect(await versionOf(server, 'a')).toBe(1);
    write(`${NEAR}default: stable\naliases: { stable: { 2: 100 } }\n`);
    expect(await versionOf(server, 'a')).toBe(1);
    poll();
    await eventually(async () => expect(await versionOf(server, 'a')).toBe(2));
    write('aliases: { stable: nonsense }\n');
    poll();
    await eventually(() => expect(server.admin.rolloutStatus('m').problem).toMatch(/aliases\.stable/));
    expect(await versionOf(server, 'a')).toBe(2);
  });

  it('that mixes spaces is refused, unless it says that they may be mixed', async () => {
    const mix = 'default: stable\naliases: { stable: { 1: 50, 2: 50 } }\n';
    const { server, write } = await start(mix);
    await using _ends = server;
    expect(server.admin.rolloutStatus('m').problem).toMatch(/space/);
    const versions = await Promise.all(names(30).map((stickyKey) => versionOf(server, 'a', { stickyKey })));
    expect(new Set(versions).size).toBe(1);
    write(`${mix}mixed_spaces: allowed\n`);
    await server.lifecycle.registry.reloadRollouts();
    expect(server.admin.rolloutStatus('m').problem).toBe('');
    const mixed = await Promise.all(names(30).map((stickyKey) => versionOf(server, 'a', { stickyKey })));
    expect(new Set(mixed)).toEqual(new Set([1, 2]));
  });
});
