import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TextTokenizer } from '../../model-server/tasks/tokenizer.ts';
import { hasShared, shared } from '../shared.ts';
import { type Harness, startLifecycle, target } from './lifecycle-harness.ts';
import { shippedRepository, temporaryFolder } from './repository.ts';

interface GoldenEmbed {
  cases: { text: string; input_ids: number[]; embedding: number[] }[];
}
interface GoldenMaxSim {
  cases: { query: string; documents: string[]; maxsim: number[] }[];
}
interface GoldenPairs {
  max_length: number;
  cases: { query: string; document: string; logit: number }[];
}

const readGolden = <T>(name: string) =>
  JSON.parse(readFileSync(new URL(`../fixtures/golden/${name}`, import.meta.url), 'utf8')) as T;
const embed = readGolden<GoldenEmbed>('all-minilm-l6-v2.embed.json');
const end = { truncate: 'end' } as const;
const cosine = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  return dot / Math.sqrt(aa * bb);
};

describe('the tokenizer', () => {
  const tokenizer = TextTokenizer.load([join(shippedRepository, 'all-minilm-l6-v2')]);

  it.each(embed.cases)('gives the reference token ids: $text', async ({ text, input_ids }) => {
    const [ids] = await tokenizer.idsOf([text]);
    expect(Array.from(tokenizer.wrap(ids!, 256).row.ids)).toEqual(input_ids);
  });

  it('counts a text of a megabyte in pieces as it would in one', async () => {
    const words = 'seventeen unbelievable sentences about batching, naïvely. ';
    const [piece] = await tokenizer.idsOf([words]);
    const [whole] = await tokenizer.idsOf([words.repeat(20_000)]);
    expect(whole!.length).toBe(piece!.length * 20_000);
  });

  it('gives the event loop its turns on a long text without white space', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const [ids] = await tokenizer.idsOf(['日本語🙂'.repeat(300_000)]);
    clearInterval(timer);
    expect(ids).toHaveLength(300_000 * 4);
    expect(turns).toBeGreaterThan(2);
  });

  it('stops a long text when the caller has gone', async () => {
    await expect(tokenizer.idsOf(['word '.repeat(200_000)], AbortSignal.abort())).rejects.toThrow();
  });
});

describe('the shipped int8 model', () => {
  let server: Harness;
  beforeAll(async () => {
    server = await startLifecycle(shippedRepository);
    expect(server.failures).toEqual([]);
  });
  afterAll(() => server[Symbol.asyncDispose]());
  const vectorsOf = async (texts: string[]) =>
    (await server.lifecycle.serving.embed(target(''), texts, end)).vectors;
  const rerank = (query: string, documents: string[]) =>
    server.lifecycle.serving.rerank(target('', { task: 'rerank' }), { query, documents }, end);

  it('comes within 0.98 of the fp32 reference on every adversarial case', async () => {
    const vectors = await vectorsOf(embed.cases.map((golden) => golden.text));
    vectors.forEach((vector, index) => {
      expect(cosine(vector, embed.cases[index]!.embedding), embed.cases[index]!.text).toBeGreaterThanOrEqual(
        0.98,
      );
      expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
    });
  });

  it('gives bit-identical vectors alone and in any batch', async () => {
    const alone = new Map<string, Float32Array>();
    const texts = embed.cases.map((golden) => golden.text);
    for (const text of texts) alone.set(text, (await vectorsOf([text]))[0]!);
    const batches = fc.array(fc.constantFrom(...texts), { minLength: 2, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(batches, async (batch) => {
        const vectors = await vectorsOf(batch);
        for (const [index, text] of batch.entries()) expect(vectors[index]).toEqual(alone.get(text));
      }),
      { numRuns: 12 },
    );
  });

  it('scores late interaction like the reference', async () => {
    for (const golden of readGolden<GoldenMaxSim>('all-minilm-l6-v2.maxsim.json').cases) {
      const { kind, results } = await rerank(golden.query, golden.documents);
      expect(kind).toBe('late_interaction');
      results.forEach(({ rawScore, score }, index) => {
        // The reference is fp32; int8 moves a cosine by up to 0.02 here.
        expect(Math.abs(rawScore - golden.maxsim[index]!)).toBeLessThan(0.02);
        expect(score).toBeCloseTo((rawScore + 1) / 2, 6);
      });
      const order = (scores: number[]) =>
        scores.map((_, index) => index).sort((a, b) => scores[b]! - scores[a]!);
      expect(order(results.map((result) => result.rawScore))).toEqual(order(golden.maxsim));
    }
  });

  it('scores an empty query and an empty document without failing', async () => {
    const { results } = await rerank('', ['', 'a text']);
    for (const { score } of results) expect(score).toBe(0.5);
  });
});

describe.skipIf(!hasShared)('models from ../shared', () => {
  const folder = temporaryFolder();
  const pairs = () =>
    JSON.parse(readFileSync(shared('golden', 'tiny-cross-encoder.json'), 'utf8')) as GoldenPairs;
  const place = (name: string) => {
    const target = join(folder.path, name);
    mkdirSync(join(target, '1'), { recursive: true });
    cpSync(shared('models', name), target, {
      recursive: true,
      filter: (file) => !/\.(onnx|safetensors)$/.test(file),
    });
    cpSync(shared('models', name, 'model.onnx'), join(target, '1', 'model.onnx'));
  };
  let server: Harness;
  beforeAll(async () => {
    for (const name of ['all-minilm-l6-v2', 'tiny-cross-encoder']) place(name);
    // The reference was made with this length; the model itself takes more.
    const length = JSON.stringify({ max_seq_length: pairs().max_length });
    writeFileSync(join(folder.path, 'tiny-cross-encoder', 'sentence_bert_config.json'), length);
    server = await startLifecycle(folder.path);
    expect(server.failures).toEqual([]);
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    folder.remove();
  });

  it('fp32 comes within 0.9999 of the reference, with no config.pbtxt', async () => {
    const texts = embed.cases.map((golden) => golden.text);
    const { vectors } = await server.lifecycle.serving.embed(target('all-minilm-l6-v2'), texts, end);
    vectors.forEach((vector, index) => {
      expect(cosine(vector, embed.cases[index]!.embedding)).toBeGreaterThanOrEqual(0.9999);
    });
  });

  it('a cross-encoder gives the reference logits, truncating the longer text first', async () => {
    // It is taken before the embedder, which could rerank too, though no model is named.
    const any = target('', { task: 'rerank' });
    for (const { query, document, logit } of pairs().cases) {
      const texts = { query, documents: [document] };
      const { ref, kind, results } = await server.lifecycle.serving.rerank(any, texts, end);
      expect(ref.name).toBe('tiny-cross-encoder');
      expect(kind).toBe('cross_encoder');
      expect(results[0]!.rawScore).toBeCloseTo(logit, 4);
      expect(results[0]!.score).toBeCloseTo(1 / (1 + Math.exp(-logit)), 4);
    }
  });

  it('a cross-encoder refuses to embed', async () => {
    const embedding = server.lifecycle.serving.embed(target('tiny-cross-encoder'), ['a'], end);
    await expect(embedding).rejects.toMatchObject({
      reason: 'TASK_NOT_SUPPORTED',
    });
  });
});
