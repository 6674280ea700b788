import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { OnnxBackend } from '../../model-server/backend/onnx.ts';
import { hasShared, shared } from '../shared.ts';
import { textEncoder, textEncoderTable } from './onnx-writer.ts';
import { planesOf, statesOf, text, useBackends } from './packed-backend.ts';
import {
  attention,
  attentionConstants,
  encoder,
  IDS,
  index,
  list,
  node,
  positions,
  random,
  rowQuantized,
} from './packing-models.ts';
import { shippedRepository } from './repository.ts';

const { open, folder } = useBackends();
const shipped = join(shippedRepository, 'all-minilm-l6-v2/1/model.onnx');
const exportsFolder = fileURLToPath(new URL('../fixtures/exports/', import.meta.url));

/** Largest difference, as a share of the largest value. */
function apart(a: readonly Float32Array[], b: readonly Float32Array[]): number {
  let [largest, difference] = [0, 0];
  expect(b.map((part) => part.length)).toEqual(a.map((part) => part.length));
  for (const [part, values] of a.entries())
    for (const [at, value] of values.entries()) {
      largest = Math.max(largest, Math.abs(value));
      difference = Math.max(difference, Math.abs(value - b[part]![at]!));
    }
  return difference / largest;
}

interface Sample {
  ids: number;
  types?: number;
  longest: number;
  /** Largest difference from the file as it is, as a share of the largest value; 0 for the same bits. */
  tolerance: number;
  runs?: number;
}

/** That a model runs packed, and gives what the file as it is gives: alone, in any company, and as raw tensors. */
async function expectSame(model: string | Uint8Array, sample: Sample): Promise<void> {
  const packed = await open(model);
  const asItIs = await open(model, { packing: 'off' });
  expect(packed.info.text).toMatchObject({ packed: true, whyPadded: '' });
  expect(packed.note).toBe('');
  expect(asItIs.info.text).toMatchObject({ packed: false, whyPadded: 'packing is off' });
  expect(packed.info.inputs).toEqual(asItIs.info.inputs);
  expect(packed.info.outputs.map(({ name }) => name)).toEqual(asItIs.info.outputs.map(({ name }) => name));
  const lengths = fc.array(fc.integer({ min: 1, max: sample.longest }), { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(lengths, async (all) => {
      const texts = all.map((length, seed) => text(length, { seed, ...sample }));
      const together = await statesOf(packed, texts);
      const alone: Float32Array[] = [];
      const wanted: Float32Array[] = [];
      for (const one of texts) {
        alone.push(...(await statesOf(packed, [one])));
        wanted.push(...(await statesOf(asItIs, [one])));
      }
      expect(together).toEqual(alone);
      expect(apart(wanted, alone)).toBeLessThanOrEqual(sample.tolerance);
      const planes = await planesOf(asItIs, texts);
      expect(apart(planes, await planesOf(packed, texts))).toBeLessThanOrEqual(sample.tolerance);
    }),
    { numRuns: sample.runs ?? 15 },
  );
}

describe('packed batches give what texts give alone and what the file as it is gives', () => {
  it('to the bit, the shipped model', () =>
    expectSame(shipped, { ids: 30_000, types: 2, longest: 40, tolerance: 0, runs: 8 }));

  it.skipIf(!hasShared)('to the bit, the same in full precision', () =>
    expectSame(shared('models/all-minilm-l6-v2/model.onnx'), {
      ids: 30_000,
      types: 2,
      longest: 40,
      tolerance: 0,
      runs: 8,
    }),
  );

  it.skipIf(!hasShared)('to the bit, a cross-encoder', () =>
    expectSame(shared('models/tiny-cross-encoder/model.onnx'), {
      ids: 1000,
      types: 2,
      longest: 40,
      tolerance: 0,
    }),
  );

  const exported = readdirSync(exportsFolder).filter((name) => name.endsWith('.onnx'));
  it.each(exported)('as PyTorch writes it: %s', (name) => {
    const types = name.startsWith('bert') && name.includes('torchscript') ? 2 : 1;
    return expectSame(join(exportsFolder, name), { ids: IDS, types, longest: 30, tolerance: 1e-6 });
  });
});

describe('forms of graphs', () => {
  const small = { ids: IDS, longest: 20, tolerance: 1e-6 };
  const withAttention = (options: Parameters<typeof attention>[0], more: { opset?: number } = {}) => {
    const { nodes, weights } = attention(options);
    return encoder({ nodes, weights: [...weights, ...attentionConstants], ...more });
  };

  it('no attention at all', () => expectSame(encoder(), small));

  it.each(['zeros', 'computed'] as const)('heads by %s shapes', (shapes) =>
    expectSame(withAttention({ shapes }), small),
  );

  it('queries, keys and values from one matrix', () => expectSame(withAttention({ split: true }), small));

  it.each(['range', 'slice'] as const)('positions by %s', async (how) => {
    const counted = positions(how);
    const attended = attention({ from: 'xp' });
    await expectSame(
      encoder({
        nodes: [...counted.nodes, node('Add', ['x', 'p'], 'xp'), ...attended.nodes],
        weights: [...counted.weights, ...attended.weights, ...attentionConstants],
      }),
      small,
    );
  });

  it('positions by their sums, which padding can not change', async () => {
    const attended = attention({ from: 'xp' });
    const nodes = [
      node('Equal', ['input_ids', 'pad_id'], 'is_pad'),
      node('Not', ['is_pad'], 'is_text'),
      node('Cast', ['is_text'], 'counts', { to: 7 }),
      node('CumSum', ['counts', 'token_axis'], 'p_ids'),
      node('Gather', ['position_table', 'p_ids'], 'p'),
      node('Add', ['x', 'p'], 'xp'),
      ...attended.nodes,
    ];
    const weights = [
      random('position_table', 64, 8),
      index('pad_id', 0),
      index('token_axis', 1),
      ...attended.weights,
      ...attentionConstants,
    ];
    await expectSame(encoder({ nodes, weights }), small);
  });

  it.each([
    ['gathered', [node('Gather', ['h', 'zero'], 'first', { axis: 1 })]],
    [
      'cut out',
      [
        node('Slice', ['h', 'first_axis', 'first_end', 'first_end'], 'first3'),
        node('Squeeze', ['first3', 'first_end'], 'first'),
      ],
    ],
  ])('a head on the first token, %s', async (_how, first) => {
    const attended = attention({ to: 'h' });
    const nodes = [...attended.nodes, ...first, node('MatMul', ['first', 'head'], 'logits')];
    const weights = [...attended.weights, ...attentionConstants, random('head', 8, 3), list('first_end', 1)];
    await expectSame(encoder({ nodes, weights, output: { name: 'logits', dims: ['batch', 3] } }), small);
  });

  it('quantisation by a scale per token, also where it has to stay as it is', async () => {
    await expectSame(encoder(rowQuantized()), { ...small, tolerance: 0 });
    await expectSame(encoder(rowQuantized(100)), { ...small, tolerance: 0 });
    await expectSame(encoder({ ...rowQuantized(), opset: 12 }), { ...small, tolerance: 0 });
  });

  it('a text of no tokens has a place in a packed batch, and changes no other', async () => {
    const backend = await open(withAttention({}));
    const [one, none] = [text(5, { ids: IDS }), text(0, { ids: IDS })];
    const [first, empty, last] = await statesOf(backend, [one, none, one]);
    expect(empty).toHaveLength(0);
    expect([first, last]).toEqual([...(await statesOf(backend, [one])), ...(await statesOf(backend, [one]))]);
    expect(await statesOf(backend, [none])).toEqual([new Float32Array(0)]);
  });
});

describe('what is not packed', () => {
  const why = ({ info, note }: OnnxBackend) => ({
    packed: info.text!.packed,
    why: info.text!.whyPadded,
    note,
  });

  it('runs as it is, and says why', async () => {
    const across = encoder({
      nodes: [node('ReduceMean', ['x'], 'mean'), node('Sub', ['x', 'mean'], 'last_hidden_state')],
    });
    expect(why(await open(across))).toEqual({
      packed: false,
      why: 'operator ReduceMean (mean): it works across tokens or rows',
      note: '',
    });
    expect(why(await open(encoder({ inputs: ['input_ids'] })))).toMatchObject({
      why: 'it has no input attention_mask',
    });
    writeFileSync(join(folder.path, 'table.bin'), textEncoderTable());
    expect(why(await open(textEncoder({ external: 'table.bin' })))).toEqual({
      packed: false,
      why: 'it has sparse weights or weights in other files',
      note: '',
    });
    expect(why(await open(encoder(), { packing: 'off' }))).toEqual({
      packed: false,
      why: 'packing is off',
      note: '',
    });
  });

  it('a graph that depends on the longest text of its batch fails its proof, which the note tells', async () => {
    const nodes = [
      node('Shape', ['input_ids'], 'shape'),
      node('Gather', ['shape', 'one'], 'length'),
      node('Cast', ['length'], 'length_float', { to: 1 }),
      node('Div', ['x', 'length_float'], 'last_hidden_state'),
    ];
    const model = encoder({ nodes, weights: [index('one', 1)] });
    const backend = await open(model);
    const { packed, why: reason, note } = why(backend);
    expect(packed).toBe(false);
    expect(reason).toMatch(/^a text of 6 tokens in company differs by .* from the same alone$/);
    expect(note).toBe(`texts are padded: ${reason}`);
    expect(backend.provenFile).toBeUndefined();
    const asItIs = await open(model, { packing: 'off' });
    const texts = [text(3, { ids: IDS }), text(9, { ids: IDS })];
    expect(await statesOf(backend, texts)).toEqual(await statesOf(asItIs, texts));
  });
});
