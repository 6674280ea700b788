import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LayoutCache } from '../../model-server/models/layout/layout-cache.ts';
import { type Harness, startLifecycle, target } from './lifecycle-harness.ts';
import { copyShippedModel, temporaryFolder } from './repository.ts';

// The shipped model itself: tuning ends, is remembered, and whatever it finds gives the same bits.

const MODEL = 'all-minilm-l6-v2';
let place: ReturnType<typeof temporaryFolder>;
let repository: string;
beforeAll(() => {
  place = temporaryFolder();
  repository = join(place.path, 'models');
  copyShippedModel(repository);
});
afterAll(() => place.remove());

const passage =
  'A server for small models forms batches of what waits, and gives each text the vector it has alone. ';
const texts = ['two cores', passage, passage.repeat(4), passage.repeat(12)];

/** Each text by itself, as a lone request, and all at once. */
async function vectorsOf(server: Harness): Promise<string[]> {
  const embed = (inputs: string[]) =>
    server.lifecycle.serving.embed(target(MODEL), inputs, { truncate: 'end', noCache: true });
  const alone = [];
  for (const text of texts) alone.push(...(await embed([text])).vectors);
  const { vectors } = await embed(texts);
  return [...alone, ...vectors].map((vector) => Buffer.from(vector.slice().buffer).toString('base64'));
}

const threads = (server: Harness) => server.admin.list()[0]!.instances.map((instance) => instance.threads);
const open = { defaults: { instances: 2, fixed: { instances: false, intraOpThreads: false } } };
const tuning = () => ({
  tuneMs: 600_000,
  cores: 2,
  cache: new LayoutCache(join(place.path, 'cache'), pino({ level: 'silent' })),
});

it('gives the same bits in every layout', async () => {
  let expected: string[];
  {
    await using plain = await startLifecycle(repository, open);
    expected = await vectorsOf(plain);
    expect(new Set(expected).size).toBe(texts.length);
  }
  let found: number[];
  {
    await using tuned = await startLifecycle(repository, { ...open, tuning: tuning() });
    found = threads(tuned);
    expect(await vectorsOf(tuned)).toEqual(expected);
  }
  const remembered = JSON.parse(readFileSync(join(place.path, 'cache/layouts.json'), 'utf8'));
  expect(Object.values(remembered.layouts)).toMatchObject([
    { evidence: expect.stringMatching(/^texts\/s of 16 and 128 tokens: \d+ and \d+ with 2 x 1, /) },
  ]);
  {
    await using again = await startLifecycle(repository, { ...open, tuning: tuning() });
    expect(threads(again)).toEqual(found);
    expect(await vectorsOf(again)).toEqual(expected);
  }
  const config = join(repository, MODEL, 'config.pbtxt');
  const lone = 'parameters { key: "lone_threads" value { string_value: "2" } }';
  writeFileSync(config, `${readFileSync(config, 'utf8')}\n${lone}\n`);
  await using withLone = await startLifecycle(repository, open);
  expect(threads(withLone)).toEqual([1, 1, 2]);
  expect(await vectorsOf(withLone)).toEqual(expected);
}, 300_000);
