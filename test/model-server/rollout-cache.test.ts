import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { EmbeddingCache } from '../../model-server/models/embedding-cache/embedding-cache.ts';
import { type Harness, startLifecycle, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

let server: Harness;
let folder: ReturnType<typeof temporaryFolder>;
const embeddingCache = new EmbeddingCache({ budgetBytes: 1e6, ttlMs: 0 });
beforeEach(async () => {
  folder = temporaryFolder();
  // 1 and 3 are the same, 2 makes other vectors.
  for (const version of [1, 3]) writeTextModel(folder.path, 'm', { version });
  writeTextModel(folder.path, 'm', { version: 2, noise: 0.01 });
  server = await startLifecycle(folder.path, { defaults: { instances: 1 }, embeddingCache });
  await server.admin.setTraffic('m', { alias: 'stable', weights: { 3: 1 }, makeDefault: true });
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  folder.remove();
});

it('figures of versions rest on what they have computed, not on what the cache has answered', async () => {
  const { serving, registry } = server.lifecycle;
  const { rollout } = registry.model('m');
  const send = async (...texts: string[]) => {
    const answer = await serving.embed(target('m'), texts, { truncate: 'end' });
    await rollout.idle();
    return answer.texts.map(({ cached }) => cached);
  };
  await server.admin.setShadow('m', { version: 1, percent: 100 });
  await vi.waitFor(() => expect(server.states()['m/1']).toBe('ready'), { timeout: 20_000 });
  expect(await send('a')).toEqual([false]);
  expect(await send('a')).toEqual([true]);
  expect(await send('a', 'b')).toEqual([true, false]);
  const { traffic, shadows } = server.admin.rolloutStatus('m');
  // One call needed nothing of version 3.
  expect(traffic).toMatchObject([{ version: 3, requests: 2 }]);
  // Version 1 is of the same space, and has computed each text all the same; only one pair of times can be compared.
  expect(shadows).toMatchObject([{ version: 1, requests: 3, errors: 0, cosine: { count: 4 } }]);
  expect(shadows[0]!.latencyRatio).toMatchObject({ count: 1 });
  expect(embeddingCache.figures).toMatchObject({ hits: 2, misses: 2, joined: 0 });
});

it('a version of another space is not answered for by the cache', async () => {
  const { serving } = server.lifecycle;
  const ask = (version: number) => serving.embed(target('m', { version }), ['new'], { truncate: 'end' });
  await server.admin.setTraffic('m', { alias: 'next', weights: { 2: 1 }, makeDefault: false });
  await server.admin.setTraffic('m', { alias: 'first', weights: { 1: 1 }, makeDefault: false });
  for (const version of ['m/1', 'm/2'])
    await vi.waitFor(() => expect(server.states()[version]).toBe('ready'), { timeout: 20_000 });
  const [three, two, one] = [await ask(3), await ask(2), await ask(1)];
  expect([three, two, one].map(({ texts }) => texts[0]!.cached)).toEqual([false, false, true]);
  expect(one!.vectors).toEqual(three!.vectors);
  expect(two!.vectors).not.toEqual(three!.vectors);
});
