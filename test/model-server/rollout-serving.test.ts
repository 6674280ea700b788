import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RolloutStatus } from '../../model-server/models/rollout/status.ts';
import { type Harness, startLifecycle, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const end = { truncate: 'end' } as const;
const guardless = { alias: '', from: 0, steps: [50, 100], minRequests: 10, guards: {} };

/** Three versions: 1 and 3 are the same, 2 makes other vectors. Only the newest is served without a rollout. */
describe('a rollout of real models', () => {
  let server: Harness;
  let folder: ReturnType<typeof temporaryFolder>;
  beforeEach(async () => {
    folder = temporaryFolder();
    for (const version of [1, 3]) writeTextModel(folder.path, 'm', { version });
    writeTextModel(folder.path, 'm', { version: 2, noise: 0.01 });
    server = await startLifecycle(folder.path, { defaults: { instances: 1 } });
  });
  afterEach(async () => {
    await server[Symbol.asyncDispose]();
    folder.remove();
  });

  const file = () => join(folder.path, 'm', 'rollout.yaml');
  /** Sends texts one after another, and waits for what is mirrored; returns which versions answered. */
  async function send(texts: readonly string[]): Promise<number[]> {
    const versions: number[] = [];
    for (const text of texts) {
      const { ref } = await server.lifecycle.serving.embed(target('m'), [text], end);
      versions.push(ref.version);
      await server.lifecycle.registry.model('m').rollout.idle();
    }
    return versions;
  }
  const texts = (count: number) => Array.from({ length: count }, (_, at) => `word ${at}`);
  const status = (): RolloutStatus => server.admin.rolloutStatus('m');
  const traffic = (weights: Record<number, number>, more = {}) =>
    server.admin.setTraffic('m', { alias: 'stable', weights, makeDefault: true, ...more });

  const shadowReady = async () => {
    await server.admin.setShadow('m', { version: 2, percent: 100 });
    await vi.waitFor(() => expect(server.states()['m/2']).toBe('ready'));
  };

  it('refuses to mix spaces that nobody has looked at before', async () => {
    await expect(traffic({ 1: 50, 2: 50 })).rejects.toMatchObject({
      reason: 'SPACE_MISMATCH',
      message: expect.stringMatching(/1 in \w+; 2 in \w+/),
    });
    expect(status().plan.aliases).toEqual({});
    await traffic({ 1: 50, 3: 50 });
    await vi.waitFor(() => expect(server.states()['m/1']).toBe('ready'));
    expect(new Set(await send(texts(20)))).toEqual(new Set([1, 3]));
  });

  it('sends no request astray when an alias moves to a version that is not there yet', async () => {
    await traffic({ 3: 1 });
    expect(await send(['a'])).toEqual([3]);
    await traffic({ 2: 1 });
    expect(await send(['a', 'b'])).toEqual([2, 2]);
  });

  it('mirrors and compares without the caller noticing', async () => {
    await traffic({ 3: 1 });
    await shadowReady();
    expect(new Set(await send(texts(10)))).toEqual(new Set([3]));
    const [shadow] = status().shadows;
    expect(shadow).toMatchObject({ version: 2, against: 3, requests: 10, errors: 0, dropped: 0 });
    expect(shadow!.cosine).toMatchObject({ count: 10 });
    expect(shadow!.cosine!.min).toBeGreaterThan(0.99);
    expect(shadow!.cosine!.min).toBeLessThan(1);
    expect(shadow!.latencyRatio!.count).toBe(10);
    expect(status().traffic).toMatchObject([{ version: 3, requests: 10 }]);
  });

  it('mirrors only a part of a bulk request, and does not compare its time', async () => {
    await traffic({ 3: 1 });
    await shadowReady();
    const { rollout } = server.lifecycle.registry.model('m');
    await server.lifecycle.serving.embed(target('m'), texts(100), end);
    await rollout.idle();
    expect(status().shadows).toMatchObject([{ requests: 1, cosine: { count: 32 }, latencyRatio: undefined }]);
    const letters = [...'abcdefghij'];
    const documents = letters.flatMap((one) => letters.map((other) => `${one} ${other}`));
    const ranking = { query: 'a j', documents };
    await server.lifecycle.serving.rerank(target('m', { task: 'rerank' }), ranking, end);
    await rollout.idle();
    expect(status().shadows).toMatchObject([{ requests: 2, errors: 0, kendallTau: { count: 1 } }]);
  });

  it('promotes a canary by itself on the evidence of mirrored requests', async () => {
    await traffic({ 3: 1 });
    await server.admin.startCanary('m', {
      ...guardless,
      to: 1,
      guards: { minCosine: 0.99, maxErrorRate: 0 },
    });
    await vi.waitFor(() => expect(server.states()['m/1']).toBe('ready'));
    for (let round = 0; round < 6; round++) await send(texts(20).map((text) => `${round} ${text}`));
    expect(status().decisions.map(({ what, by }) => `${what} by ${by}`)).toEqual([
      'promoted by schedule',
      'advanced by schedule',
      'started by command',
    ]);
    expect(readFileSync(file(), 'utf8')).toBe('default: stable\naliases:\n  stable: { 1: 100 }\n');
    expect(new Set(await send(texts(5)))).toEqual(new Set([1]));
  });

  it('rolls a canary back by itself when claimed vectors differ', async () => {
    writeFileSync(file(), 'default: stable\naliases: { stable: { 3: 1 } }\nsame_space: [2, 3]\n');
    await server.look();
    await server.admin.startCanary('m', { ...guardless, to: 2, guards: { minCosine: 0.9999999 } });
    await vi.waitFor(() => expect(server.states()['m/2']).toBe('ready'));
    await send(texts(60));
    expect(status().decisions[0]).toMatchObject({ what: 'rolled back', by: 'guard' });
    expect(new Set(await send(texts(5)))).toEqual(new Set([3]));
  });

  it('compares versions, and says how where one is not served yet', async () => {
    await expect(server.admin.compare('m', 3, 1)).rejects.toMatchObject({
      reason: 'VERSION_NOT_FOUND',
      message: expect.stringContaining('nereid rollout set m compared 1=1'),
    });
    await expect(server.admin.compare('m', 3, 9)).rejects.toMatchObject({ reason: 'VERSION_NOT_FOUND' });
    await server.admin.setTraffic('m', { alias: 'compared', weights: { 1: 1 }, makeDefault: false });
    await vi.waitFor(() => expect(server.states()['m/1']).toBe('ready'));
    expect(await server.admin.compare('m', 3, 1)).toMatchObject({ verdict: 'identical' });
  });

  it('refuses the wrong way of scoring before it computes anything', async () => {
    const texts = { query: 'a', documents: ['b'], kind: 'cross_encoder' } as const;
    await expect(
      server.lifecycle.serving.rerank(target('m', { task: 'rerank' }), texts, {
        ...end,
        deadlineMs: 0,
      }),
    ).rejects.toMatchObject({ reason: 'TASK_NOT_SUPPORTED', message: expect.stringMatching(/m version 3/) });
  });
});
