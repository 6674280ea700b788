import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { serverConfigSchema } from '../../model-server/config.ts';
import { run } from '../../model-server/main.ts';
import { EmbedService, Truncate, VectorEncoding } from '../../proto/gen/serving_pb.js';
import { TestClient } from './grpc-client.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

let folder: ReturnType<typeof temporaryFolder>;
const open: (() => Promise<void>)[] = [];
beforeEach(() => {
  folder = temporaryFolder();
  writeTextModel(join(folder.path, 'models'), 'm');
});
afterEach(async () => {
  for (const close of open.splice(0)) await close();
  folder.remove();
});

/** The whole server over a tiny model. */
async function start(settings: object = {}) {
  const free = { grpcPort: 0, httpPort: 0, metricsPort: 0, logLevel: 'silent', instances: 1 };
  const modelRepository = join(folder.path, 'models');
  const server = await run(serverConfigSchema.parse({ ...free, modelRepository, ...settings }));
  const client = new TestClient(server.grpcPort);
  let closing: Promise<void> | undefined;
  const close = () => {
    client.close();
    closing ??= server.close();
    return closing;
  };
  open.push(close);
  const embed = (request: Parameters<typeof client.ask<typeof EmbedService.method.embed.input, never>>[1]) =>
    client.ask(EmbedService.method.embed, request);
  const figures = async () => {
    const page = await (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text();
    const lines = page.matchAll(/^nereid_embedding_cache_(\w+) (\d+)$/gm);
    return Object.fromEntries([...lines].map(([, name, value]) => [name, Number(value)]));
  };
  return { embed, figures, close };
}

describe('a text that was embedded before', () => {
  it('is answered from the cache with the same bytes, and told as cached', async () => {
    const { embed, figures } = await start();
    const first = await embed({ inputs: ['a b', 'c'] });
    const second = await embed({ inputs: ['c', 'd', 'a b'] });
    expect(first.embeddings.map(({ cached }) => cached)).toEqual([false, false]);
    expect(second.embeddings.map(({ cached }) => cached)).toEqual([true, false, true]);
    expect(second.embeddings[2]).toEqual({ ...first.embeddings[0], cached: true });
    expect(second.model).toEqual(first.model);
    expect(await figures()).toMatchObject({ hits_total: 2, misses_total: 3, joined_total: 0, entries: 3 });
    const floats = await embed({ inputs: ['a b'], encoding: VectorEncoding.FLOATS });
    const { packed } = first.embeddings[0]!;
    const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
    expect(floats.embeddings[0]!.values).toEqual(
      Array.from({ length: first.dimension }, (_, at) => view.getFloat32(at * 4, true)),
    );
    expect(floats.timings).toMatchObject({ queueUs: 0, tokenizeUs: 0, computeUs: 0 });
  });

  it('is computed again for a call that wants no cache, or when there is none', async () => {
    const { embed, figures } = await start();
    await embed({ inputs: ['a'] });
    const again = await embed({ inputs: ['a'], noCache: true });
    expect(again.embeddings[0]!.cached).toBe(false);
    expect(again.timings!.computeUs).toBeGreaterThan(0);
    expect(await figures()).toMatchObject({ hits_total: 0, misses_total: 1, bytes: expect.any(Number) });
    const without = await start({ embeddingCacheMb: 0, embeddingCacheDir: join(folder.path, 'cache') });
    for (let time = 0; time < 2; time++)
      expect((await without.embed({ inputs: ['a'] })).embeddings[0]!.cached).toBe(false);
    expect(existsSync(join(folder.path, 'cache'))).toBe(false);
  });

  it('is refused for its length as if it had not been', async () => {
    const { embed } = await start();
    const long = 'word '.repeat(1000);
    expect((await embed({ inputs: [long] })).embeddings[0]).toMatchObject({ truncated: true });
    expect((await embed({ inputs: [long] })).embeddings[0]).toMatchObject({ truncated: true, cached: true });
    const strict = { inputs: ['a', long], truncate: Truncate.ERROR };
    const refusals = await Promise.all(
      [strict, { ...strict, noCache: true }].map((request) =>
        embed(request).catch((failed: unknown) => failed),
      ),
    );
    expect(refusals[0]).toMatchObject({ reason: 'INPUT_TOO_LONG' });
    expect(refusals[0]).toEqual(refusals[1]);
  });

  it('is found again after a restart, where a folder is given', async () => {
    const embeddingCacheDir = join(folder.path, 'cache');
    const before = await start({ embeddingCacheDir });
    const first = await before.embed({ inputs: ['a b', 'c'] });
    await before.close();
    const after = await start({ embeddingCacheDir });
    const second = await after.embed({ inputs: ['c', 'a b', 'new'] });
    expect(second.embeddings.map(({ cached }) => cached)).toEqual([true, true, false]);
    expect(second.embeddings[1]).toEqual({ ...first.embeddings[0], cached: true });
    await after.embed({ inputs: ['c'] });
    expect(await after.figures()).toMatchObject({ hits_total: 3, disk_hits_total: 2, misses_total: 1 });
  });
});
