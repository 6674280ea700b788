import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { median, quantile, spread } from '../../cli/bench/figures.ts';
import { drawLength, lengthsText, readLengths } from '../../cli/bench/lengths.ts';
import { idealBatches, latencyLayouts, layoutText, throughputLayouts } from '../../cli/bench/limit.ts';
import { findModelFile, isThisMachine } from '../../cli/bench/model-file.ts';
import { nextGapMs, seeded } from '../../cli/bench/random.ts';
import { RequestSource } from '../../cli/bench/request-source.ts';
import { readServerMetrics, workBetween } from '../../cli/bench/server-metrics.ts';
import { makeTexts, readTexts } from '../../cli/bench/texts.ts';
import { FILLERS, FOUR_LETTERS } from '../../cli/bench/words.ts';
import { startFakeHttp } from './fake-http.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bench-'));
});
afterEach(() => rm(folder, { recursive: true }));

const file = async (name: string, content: string) => {
  await writeFile(join(folder, name), content);
  return join(folder, name);
};

test('figures of worked examples', () => {
  expect([median([3, 1, 2]), median([4, 1, 2, 3]), median([])]).toEqual([2, 2.5, Number.NaN]);
  expect([quantile([1, 2, 3, 4], 0.5), quantile([1, 2, 3, 4], 0.99), quantile([], 0.5)]).toEqual([
    2,
    4,
    Number.NaN,
  ]);
  expect(spread([2, undefined, 1, Number.NaN, 9])).toEqual({ median: 2, min: 1, max: 9 });
  expect(spread([undefined])).toBeUndefined();
});

test('arrivals come at the rate that was asked for, and are as irregular as those of a Poisson process', () => {
  const random = seeded(7);
  const gaps = Array.from({ length: 20_000 }, () => nextGapMs(50, random));
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  const deviation = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length);
  expect(mean).toBeGreaterThan(19.5);
  expect(mean).toBeLessThan(20.5);
  expect(deviation / mean).toBeGreaterThan(0.95);
  expect(deviation / mean).toBeLessThan(1.05);
});

describe('lengths', () => {
  test('a length, a range and a histogram', async () => {
    expect(await readLengths('16')).toEqual([{ from: 16, to: 16, weight: 1 }]);
    expect(await readLengths('5-20')).toEqual([{ from: 5, to: 20, weight: 1 }]);
    const mix = await readLengths(await file('mix.json', '{"5-20": 9, "300": 1}'));
    expect(mix).toEqual([
      { from: 5, to: 20, weight: 9 },
      { from: 300, to: 300, weight: 1 },
    ]);
    expect(lengthsText(mix)).toBe('5-20 (weight 9), 300 (weight 1) tokens');
    const random = seeded(3);
    const drawn = Array.from({ length: 5000 }, () => drawLength(mix, random));
    const long = drawn.filter((length) => length === 300).length / drawn.length;
    expect(long).toBeGreaterThan(0.08);
    expect(long).toBeLessThan(0.12);
    expect(new Set(drawn).size).toBe(17);
  });

  test.each(['0', '20-5', 'many', '5-', '1e9'])('%s is refused', async (text) => {
    await expect(readLengths(text)).rejects.toThrow(/--tokens must be a length \(16\), a range/);
  });

  test.each([
    ['{}', /names no length/],
    ['{"x": 1}', /"x" is no length/],
    ['{"5": -1}', /no JSON object of weights/],
    ['nonsense', /no JSON object of weights/],
  ])('a histogram of %s is refused', async (content, message) => {
    await expect(readLengths(await file('bad.json', content))).rejects.toThrow(message);
  });
});

describe('texts', () => {
  test('have the length that was asked for, in words that may be written anew', () => {
    for (const word of FOUR_LETTERS) expect(word).toMatch(/^[a-z]{4}$/);
    expect(new Set(FOUR_LETTERS).size).toBe(FOUR_LETTERS.length);
    expect(FILLERS.length).toBeGreaterThan(20);
    const { texts, tokens, variedWords } = makeTexts(200, [{ from: 3, to: 12, weight: 1 }], seeded(1));
    for (const [index, text] of texts.entries()) {
      const words = text.split(' ');
      expect(words.length).toBe(tokens[index]! - 2);
      expect(variedWords[index]).toBe(Math.min(3, words.length));
    }
  });

  test('of a file are taken as they are; one that is not there or empty is refused', async () => {
    const { texts, variedWords } = await readTexts(await file('texts.txt', 'one\r\n\n zwei ü\n'));
    expect([texts, variedWords]).toEqual([
      ['one', ' zwei ü'],
      [0, 0],
    ]);
    await expect(readTexts(await file('empty.txt', '\n\n'))).rejects.toThrow(/holds no text/);
    await expect(readTexts(join(folder, 'none.txt'))).rejects.toThrow(/--texts .*none\.txt can't be read/);
  });
});

describe('requests', () => {
  const encode = (texts: readonly string[]) => Buffer.from(JSON.stringify({ inputs: texts, end: 'ü' }));

  test('never repeat a text, and keep their size and lengths', () => {
    const pool = makeTexts(10, [{ from: 5, to: 9, weight: 1 }], seeded(1));
    const source = new RequestSource(pool, { textsPerCall: 4, encode, firstText: 99 });
    const sent = Array.from({ length: 300 }, () => source.next());
    const texts = sent.flatMap(({ body }) => {
      const { inputs, end } = JSON.parse(body.toString()) as { inputs: string[]; end: string };
      expect(end).toBe('ü');
      return inputs;
    });
    expect(texts.length).toBe(1200);
    expect(new Set(texts).size).toBe(1200);
    texts.forEach((text, index) => {
      // Ten texts make three calls of four, the last of which begins again.
      const template = index % 12 < 10 ? index % 12 : (index % 12) - 10;
      expect(text.length).toBe(pool.texts[template]!.length);
    });
    expect(sent.slice(0, 3).map(({ tokens, texts: count }) => [count, tokens])).toEqual(
      [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 0, 1],
      ].map((at) => [4, at.reduce((sum, index) => sum + pool.tokens[index]!, 0)]),
    );
  });

  test('a request that still waits in a socket is not written over', () => {
    const pool = makeTexts(1, [{ from: 6, to: 6, weight: 1 }], seeded(1));
    const source = new RequestSource(pool, { textsPerCall: 1, encode, firstText: 0 });
    const first = source.next().body;
    const copy = Buffer.from(first);
    expect(source.next().body.equals(copy)).toBe(false);
    expect(first.equals(copy)).toBe(true);
  });

  test('texts of a file are sent as they are', () => {
    const pool = { texts: ['a', 'ü b'], tokens: [3, 4], variedWords: [0, 0] };
    const source = new RequestSource(pool, { textsPerCall: 1, encode, firstText: 5 });
    const next = () => (JSON.parse(source.next().body.toString()) as { inputs: string[] }).inputs[0];
    expect([next(), next(), next()]).toEqual(['a', 'ü b', 'a']);
  });
});

describe('the limit', () => {
  test('ideal batches hold all texts but the rest, and no other choice of that many batches pads less', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 4, maxLength: 24 }),
        fc.integer({ min: 1, max: 4 }),
        (lengths, size) => {
          const rows = lengths.map((length) => ({ length }));
          const batches = idealBatches(rows, size);
          expect(batches.length).toBe(Math.floor(rows.length / size));
          expect(batches.every((batch) => batch.length === size)).toBe(true);
          expect(new Set(batches.flat()).size).toBe(batches.length * size);
          const padded = (all: { length: number }[][]) =>
            all.reduce((sum, batch) => sum + Math.max(...batch.map(({ length }) => length)) * size, 0);
          const same = batches.flat();
          const asTheyCome = Array.from({ length: batches.length }, (_, at) =>
            rows.filter((row) => same.includes(row)).slice(at * size, (at + 1) * size),
          );
          expect(padded(batches)).toBeLessThanOrEqual(padded(asTheyCome));
        },
      ),
    );
  });

  test('fewer texts than a batch holds make one batch', () => {
    expect(idealBatches([{ length: 1 }, { length: 2 }], 8).map((batch) => batch.length)).toEqual([2]);
  });

  test('layouts use every core', () => {
    expect(throughputLayouts(2).map(layoutText)).toEqual([
      '2 x 1 thread, batches of 32',
      '2 x 1 thread, batches of 8',
      '2 x 1 thread, batches of 1',
      '1 x 2 threads, batches of 32',
    ]);
    expect(throughputLayouts(1)).toHaveLength(3);
    expect(latencyLayouts(2).map(({ threads }) => threads)).toEqual([1, 2]);
    expect(latencyLayouts(1)).toHaveLength(1);
  });
});

test('the model file is that of the served version, on this machine only', async () => {
  const served = { name: 'mini', version: 3, dimension: 3, maxTokens: 256, specialTokens: 2 };
  const base = { given: undefined, modelRepository: folder, served, host: '127.0.0.1' };
  expect(findModelFile(base)).toEqual({
    why: `not measured: there is no ${join(folder, 'mini', '3', 'model.onnx')}; name it with --model-file`,
  });
  const given = await file('model.onnx', '');
  expect(findModelFile({ ...base, given })).toEqual({ file: given });
  expect(findModelFile({ ...base, given, host: '192.0.2.1' })).toEqual({
    why: 'not measured: 192.0.2.1 is not this machine',
  });
  expect(() => findModelFile({ ...base, given: join(folder, 'none') })).toThrow(
    /--model-file .*none is not there/,
  );
  expect(['localhost', '127.0.0.1', '::1', '[::1]', 'example.com'].map(isThisMachine)).toEqual([
    true,
    true,
    true,
    true,
    false,
  ]);
});

test('the work of a server is the difference of two looks at its metrics', async () => {
  const page = (tokens: number, padding: number, batches: number) =>
    [
      '# HELP nereid_tokens_total x',
      `nereid_tokens_total{model="a",version="1"} ${tokens}`,
      'nereid_tokens_total{model="b",version="1"} 10',
      `nereid_padding_tokens_total{model="a",version="1"} ${padding}`,
      `nereid_batch_items_count{model="a",version="1"} ${batches}`,
      `nereid_batch_items_sum{model="a",version="1"} ${batches * 6}`,
      `nereid_compute_seconds_sum{model="a",version="1"} ${batches * 0.004}`,
      `process_cpu_seconds_total ${tokens / 1e5}`,
      'process_resident_memory_bytes 123',
    ].join('\n');
  const pages = [page(100, 10, 5), page(1000, 110, 55)];
  const { url } = await startFakeHttp((_request, _body) => ({ text: pages.shift() ?? '' }));
  const [before, after] = [await readServerMetrics(url), await readServerMetrics(url)];
  const work = workBetween(before, after)!;
  expect(work.paddingShare).toBeCloseTo(0.1, 9);
  expect(work.meanBatch).toBeCloseTo(6, 9);
  expect(work.meanBatchMs).toBeCloseTo(4, 9);
  expect(work.cpuUsPerToken).toBeCloseTo(10, 9);
  expect(work.residentBytes).toBe(123);
  expect(work.cores).toBeCloseTo(0.009 / ((after!.atMs - before!.atMs) / 1000), 6);
  // Neither an empty page nor nobody is an error: another server may have no metrics.
  expect(await readServerMetrics(url)).toBeUndefined();
  expect(await readServerMetrics('http://127.0.0.1:1/metrics')).toBeUndefined();
  expect(workBetween(undefined, after)).toBeUndefined();
});
