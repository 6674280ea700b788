import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Golden, readGolden } from '../../model-server/models/opening/golden.ts';
import { selfCheck } from '../../model-server/models/opening/self-check.ts';
import { hasShared, shared } from '../shared.ts';
import { openEmbedder } from './embed-on-pool.ts';
import { textEncoder, writeTinyTokenizer } from './onnx-writer.ts';

/** A vector that depends on the text alone, and a little on `noise`. */
const vectorOf = (text: string, noise = 0) => {
  const angle = text.length / 40 + noise;
  return Float32Array.of(Math.cos(angle), Math.sin(angle));
};
const steady = async (texts: readonly string[]) => texts.map((text) => vectorOf(text));
const goldenOf = (cases: Golden['cases'], minCosine = 0.98): Golden => ({
  reference: 'the reference',
  minCosine,
  cases,
});

describe('the self-check of a vector maker', () => {
  it('is silent when a text gives the same vector alone and in a batch', async () => {
    const embed = vi.fn(steady);
    expect(await selfCheck({ embed })).toEqual({
      goldenTexts: 0,
      goldenMinCosine: 1,
      batchMinCosine: 1,
      batchIdentical: true,
      warnings: [],
    });
    expect(embed.mock.calls.map((call) => (call as unknown[])[1])).toEqual([false, true]);
    const [texts] = embed.mock.calls[0]!;
    expect(texts.length).toBeLessThanOrEqual(8);
    expect(new Set(texts.map((text) => text.length)).size).toBe(texts.length);
  });

  it.each([
    ['rounding is not identical, but no reason to warn', 0.001, false],
    ['a cosine below 0.9999 is', 0.15, true],
  ])('%s', async (_what, noise, warns) => {
    const embed = async (texts: readonly string[], together: boolean) =>
      texts.map((text, index) => vectorOf(text, together && index === 3 ? noise : 0));
    const report = await selfCheck({ embed });
    expect(report.batchIdentical).toBe(false);
    expect(report.batchMinCosine).toBeCloseTo(Math.cos(noise), 5);
    expect(report.warnings).toHaveLength(warns ? 1 : 0);
    if (warns) expect(report.warnings[0]).toContain('have a cosine of only 0.9888');
  });

  it('compares with golden vectors, each text alone, 16 at most', async () => {
    const cases = Array.from({ length: 20 }, (_, i) => {
      const text = 'x'.repeat(i + 1);
      return { text, embedding: [...vectorOf(text)] };
    });
    const embed = vi.fn(steady);
    const report = await selfCheck({ embed, golden: goldenOf(cases) });
    expect(report).toMatchObject({ goldenTexts: 16, warnings: [] });
    expect(report.goldenMinCosine).toBeCloseTo(1, 6);
    expect(embed.mock.calls.at(-1)).toEqual([cases.slice(0, 16).map(({ text }) => text), false]);
  });

  it('warns when they differ, have another width, or are no numbers', async () => {
    const embedding = [...vectorOf('abc', 0.5)];
    const off = await selfCheck({ embed: steady, golden: goldenOf([{ text: 'abc', embedding }]) });
    expect(off.goldenMinCosine).toBeCloseTo(Math.cos(0.5), 5);
    expect(off.warnings).toEqual([
      'vectors differ from golden.json (the reference): least cosine 0.8776, expected at least 0.98. Check pooling, normalisation and tokenizer',
    ]);
    const wide = await selfCheck({
      embed: steady,
      golden: goldenOf([{ text: 'abc', embedding: [1, 2, 3] }]),
    });
    expect(wide).toMatchObject({ goldenMinCosine: 0, warnings: [expect.stringContaining('0.0000')] });
    const embed = async (texts: readonly string[]) => texts.map(() => Float32Array.of(Number.NaN, 1));
    const broken = await selfCheck({ embed });
    expect(broken).toMatchObject({ batchMinCosine: 0, batchIdentical: false });
    expect(broken.warnings[0]).toContain('no finite numbers');
  });

  it('fails as the model does', async () => {
    const embed = async () => {
      throw new Error('bad batch');
    };
    await expect(selfCheck({ embed })).rejects.toThrow('bad batch');
  });
});

describe('the self-check of a cross-encoder', () => {
  const score = (noise: number) =>
    vi.fn(async (pairs: readonly (readonly [string, string])[], together: boolean) =>
      pairs.map(([query, document]) => query.length - document.length + (together ? noise : 0)),
    );

  it.each([
    [0, true, []],
    [0.001, false, []],
    [0.25, false, [expect.stringContaining('alone and in a batch differ by up to 0.2500')]],
  ])('logits that differ by %f', async (noise, identical, warnings) => {
    const run = score(noise);
    expect(await selfCheck({ score: run })).toEqual({
      goldenTexts: 0,
      goldenMinCosine: 1,
      batchMinCosine: 1,
      batchIdentical: identical,
      warnings,
    });
    expect(run.mock.calls.map(([, together]) => together)).toEqual([false, true]);
  });

  it('warns of scores that are no numbers', async () => {
    const report = await selfCheck({ score: async (pairs) => pairs.map(() => Number.NaN) });
    expect(report.batchIdentical).toBe(false);
    expect(report.warnings).toEqual([expect.stringContaining('no finite numbers')]);
  });
});

describe('the self-check of real models', () => {
  const shipped = fileURLToPath(new URL('../../model-repository/all-minilm-l6-v2/', import.meta.url));

  it('finds nothing wrong with the shipped one', async () => {
    const { pool, embed } = await openEmbedder(join(shipped, '1/model.onnx'), shipped);
    const report = await selfCheck({ embed, golden: readGolden([shipped]) });
    await pool.close();
    expect(report.warnings).toEqual([]);
    expect(report.goldenTexts).toBe(8);
    expect(report.goldenMinCosine).toBeGreaterThan(0.98);
    expect(report.batchMinCosine).toBeGreaterThan(0.9999);
  });

  it('warns of one whose rows depend on each other, by design', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'neighbours-'));
    writeTinyTokenizer(folder);
    writeFileSync(join(folder, 'model.onnx'), textEncoder({ neighbours: true }));
    const { pool, embed } = await openEmbedder(join(folder, 'model.onnx'), folder);
    const report = await selfCheck({ embed });
    await pool.close();
    rmSync(folder, { recursive: true });
    expect(report.warnings).toEqual([expect.stringContaining('vectors depend on their neighbours')]);
  });

  it.skipIf(!hasShared)('finds full precision equal to its reference', async () => {
    const { pool, embed } = await openEmbedder(shared('models', 'all-minilm-l6-v2', 'model.onnx'), shipped);
    const report = await selfCheck({ embed, golden: readGolden([shipped]) });
    await pool.close();
    expect(report.goldenMinCosine).toBeGreaterThan(0.99999);
    expect(report.warnings).toEqual([]);
  });
});

describe('golden.json', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'golden-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  const write = (text: string) => writeFileSync(join(folder, 'golden.json'), text);

  it('of the shipped model is read', () => {
    const model = fileURLToPath(new URL('../../model-repository/all-minilm-l6-v2/', import.meta.url));
    const golden = readGolden([join(model, '1'), model])!;
    expect(golden.minCosine).toBe(0.98);
    expect(golden.cases.length).toBeGreaterThan(0);
    expect(golden.cases.every(({ embedding }) => embedding.length === 384)).toBe(true);
  });

  it('need not be there', () => {
    expect(readGolden(['/nowhere'])).toBeUndefined();
  });

  it.each([
    ['{', 'not valid JSON'],
    ['{"cases": []}', 'cases: '],
    ['{"cases": [{"text": "a", "embedding": ["x"]}]}', 'cases.0.embedding.0: '],
    ['{"minCosine": 2, "cases": [{"text": "a", "embedding": [1]}]}', 'minCosine: '],
  ])('%s is refused, naming the file and the field', (text, why) => {
    write(text);
    expect(() => readGolden([folder])).toThrow(
      expect.objectContaining({
        reason: 'MODEL_CONFIG_INVALID',
        message: expect.stringContaining(`${join(folder, 'golden.json')}: ${why}`),
      }),
    );
  });
});
