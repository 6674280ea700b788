import { describe, expect, it } from 'vitest';
import { fuseRowQuantize } from '../../model-server/backend/graph/fuse-row-quantize.ts';
import type { Attribute, Graph } from '../../model-server/backend/graph/graph.ts';
import { packTokens } from '../../model-server/backend/graph/pack-tokens.ts';
import { Unpackable } from '../../model-server/backend/graph/packing.ts';
import { readGraph } from '../../model-server/backend/graph/read-graph.ts';
import type { Node, Weights } from './onnx-message.ts';
import {
  attention,
  attentionConstants,
  type EncoderOptions,
  encoder,
  index,
  list,
  node,
  numbers,
  random,
  rowQuantized,
} from './packing-models.ts';

const OUT = 'last_hidden_state';
const pack = (graph: Graph) => packTokens(graph, OUT);
const refusal = (options: EncoderOptions): string => {
  try {
    pack(readGraph(encoder(options)));
  } catch (thrown) {
    if (thrown instanceof Unpackable) return thrown.message;
    throw thrown;
  }
  return '';
};

const constants: Weights[] = [
  random('w', 8, 8),
  random('w3', 2, 8, 8),
  random('table2', 4, 8, 8),
  random('scale', 8),
  random('per_position', 1, 4, 8),
  random('row_of_one', 1, 1, 8),
  numbers('one', 1),
  numbers('several', 1, 2),
  index('i0', 0),
  index('i1', 1),
  index('i2', 2),
  list('a0', 0),
  list('a1', 1),
  list('a2', 2),
  list('a3', 3),
  list('l4', 4),
  list('halves', 4, 4),
  list('end', 2 ** 31),
  list('flat2', -1, 8),
  list('merged', 0, 0, 8),
];

/** One operator on the states `x`, and what comes of it. */
type Case = [what: string, nodes: Node[], reason: RegExp | undefined];
const on = (type: string, inputs: string[], attributes: Node['attributes'] = {}) =>
  node(type, inputs, OUT, attributes);
const ACROSS = /works across tokens or rows/;
const first = (...then: Node[]) => [node('Gather', ['x', 'i0'], 'first', { axis: 1 }), ...then];

const cases: Case[] = [
  ['a sum of two', [on('Add', ['x', 'x'])], undefined],
  ['a sum with a constant of the features', [on('Add', ['scale', 'x'])], undefined],
  ['a sum with one of as many axes', [on('Add', ['x', 'row_of_one'])], undefined],
  ['a sum with a constant per position', [on('Add', ['x', 'per_position'])], /constant of shape \[1, 4, 8\]/],
  ['a sum with ids', [on('Add', ['x', 'input_ids'])], /different ranks/],
  [
    'a sum with the first token',
    first(node('Unsqueeze', ['first', 'a1'], 'first3'), on('Add', ['x', 'first3'])),
    /something that is no constant/,
  ],
  ['a constant matrix on the right', [on('MatMul', ['x', 'w'])], undefined],
  ['one on the left', [on('MatMul', ['w', 'x'])], /constant matrix on the right/],
  ['several of them', [on('MatMul', ['x', 'w3'])], /constant matrix on the right/],
  [
    'tokens times tokens',
    [node('Transpose', ['x'], 't', { perm: [0, 2, 1] }), on('MatMul', ['x', 't'])],
    ACROSS,
  ],
  ['layer normalisation of features', [on('LayerNormalization', ['x', 'scale'])], undefined],
  ['of tokens as well', [on('LayerNormalization', ['x', 'scale'], { axis: 1 })], ACROSS],
  [
    'with a scale that is computed',
    [on('LayerNormalization', ['x', 'x'])],
    /scale or bias depends on the tokens/,
  ],
  ['softmax over features', [on('Softmax', ['x'], { axis: 2 })], undefined],
  ['over tokens', [on('Softmax', ['x'], { axis: 1 })], ACROSS],
  ['a mean of features', [on('ReduceMean', ['x'], { axes: [-1] })], undefined],
  ['of tokens', [on('ReduceMean', ['x'], { axes: [1] })], ACROSS],
  ['of all', [on('ReduceMean', ['x'])], ACROSS],
  [
    'over axes that are computed',
    [node('Cast', ['attention_mask'], 'c', { to: 7 }), on('ReduceSum', ['x', 'c'])],
    ACROSS,
  ],
  ['features by an index', [on('Gather', ['x', 'a2'], { axis: 2 })], undefined],
  ['another token than the first', [on('Gather', ['x', 'i1'], { axis: 1 })], ACROSS],
  ['the first row', [on('Gather', ['x', 'i0'], { axis: 0 })], ACROSS],
  [
    'a look-up along another axis',
    [on('Gather', ['table2', 'input_ids'], { axis: 1 })],
    /rows of a constant table/,
  ],
  [
    'a look-up in tokens',
    [
      node('ReduceMax', ['x'], 'm', { axes: [2], keepdims: 0 }),
      on('Gather', ['x', 'input_ids'], { axis: 2 }),
    ],
    /rows of a constant table/,
  ],
  ['some features', [on('Slice', ['x', 'a1', 'l4', 'a2'])], undefined],
  ['all tokens, as exporters write it', [on('Slice', ['x', 'a0', 'end', 'a1'])], undefined],
  ['some tokens', [on('Slice', ['x', 'a1', 'l4', 'a1'])], ACROSS],
  ['with bounds that are computed', [on('Slice', ['x', 'input_ids', 'l4', 'a2'])], /bounds are computed/],
  [
    'halves of features',
    [node('Split', ['x', 'halves'], ['h', 'i'], { axis: 2 }), on('Concat', ['i', 'h'], { axis: 2 })],
    undefined,
  ],
  [
    'parts of tokens',
    [node('Split', ['x', 'halves'], ['h', 'i'], { axis: 1 }), on('Add', ['i', 'h'])],
    ACROSS,
  ],
  ['tokens joined to tokens', [on('Concat', ['x', 'x'], { axis: 1 })], ACROSS],
  [
    'tokens joined to a constant',
    [on('Concat', ['x', 'row_of_one'], { axis: 2 })],
    /joins tokens with something else/,
  ],
  [
    'an axis more behind, and away again',
    [node('Unsqueeze', ['x', 'a3'], 'u'), on('Squeeze', ['u', 'a3'])],
    undefined,
  ],
  ['an axis more in front', [node('Unsqueeze', ['x', 'a1'], 'u'), on('Squeeze', ['u', 'a1'])], ACROSS],
  [
    'features turned',
    [node('Unsqueeze', ['x', 'a3'], 'u'), on('Transpose', ['u'], { perm: [0, 1, 3, 2] })],
    undefined,
  ],
  ['tokens turned', [on('Transpose', ['x'], { perm: [1, 0, 2] })], ACROSS],
  ['a shape that takes rows and tokens over', [on('Reshape', ['x', 'merged'])], undefined],
  ['one that mixes them', [on('Reshape', ['x', 'flat2'])], /may hold padding/],
  ['a scale for the whole', [on('QuantizeLinear', ['x', 'one'])], undefined],
  ['a scale for each feature', [on('QuantizeLinear', ['x', 'several'])], /not one constant/],
  ['a scale that is found', [on('DynamicQuantizeLinear', ['x'])], /none of those that look at one token/],
  [
    'integers times integers',
    [
      node('Cast', ['x'], 'q', { to: 2 }),
      node('Cast', ['w'], 'wq', { to: 2 }),
      on('MatMulInteger', ['q', 'wq']),
    ],
    undefined,
  ],
  [
    'with a zero point per token',
    [
      node('Cast', ['x'], 'q', { to: 2 }),
      node('Cast', ['w'], 'wq', { to: 2 }),
      on('MatMulInteger', ['q', 'wq', 'q']),
    ],
    /zero points depend/,
  ],
  ['an operator that is not known', [on('TopK', ['x', 'a1'])], /none of those that look at one token/],
  [
    'sums from the end',
    [node('CumSum', ['input_ids', 'i1'], 's', { reverse: 1 }), on('Gather', ['w', 's'])],
    /none of those that look at one token/,
  ],
  [
    'sums over rows',
    [node('CumSum', ['input_ids', 'i0'], 's'), on('Gather', ['w', 's'])],
    /none of those that look at one token/,
  ],
  ['a shape to which it is spread', [on('Expand', ['x', 'merged'])], /none of those that look at one token/],
];

describe('operators on tokens', () => {
  it.each(cases)('%s', (_what, nodes, reason) => {
    const said = refusal({ nodes, weights: constants });
    if (reason === undefined) expect(said).toBe('');
    else expect(said).toMatch(reason);
  });

  it('a refusal names the operator and what it makes', () => {
    const nodes = [node('Softmax', ['x'], 'shares', { axis: 1 }), on('Add', ['x', 'shares'])];
    expect(refusal({ nodes })).toBe('operator Softmax (shares): it works across tokens or rows');
  });

  it('before version 13 softmax without an axis takes all but the first', () => {
    expect(refusal({ nodes: [on('Softmax', ['x'])], opset: 12 })).toMatch(ACROSS);
    expect(refusal({ nodes: [on('Softmax', ['x'])], opset: 13 })).toBe('');
  });

  it('an operator of another domain is none that is known', () => {
    const graph = readGraph(encoder({ nodes: [on('Relu', ['x'])] }));
    const nodes = graph.nodes.map((one) => (one.opType === 'Relu' ? { ...one, domain: 'other' } : one));
    expect(() => pack({ ...graph, nodes })).toThrow(/Relu.*none of those/);
  });

  it('graphs in graphs are not looked into', () => {
    const graph = readGraph(encoder({ nodes: [on('Relu', ['x'])] }));
    const branch: Attribute = { bytes: new Uint8Array(0), hasGraph: true };
    const nodes = graph.nodes.map((one) => ({ ...one, attributes: new Map([['then_branch', branch]]) }));
    expect(() => pack({ ...graph, nodes })).toThrow(/graphs of its own/);
  });
});

describe('inputs', () => {
  it.each([
    ['no mask', { inputs: ['input_ids'] }, 'it has no input attention_mask'],
    [
      'others',
      { inputs: ['input_ids', 'attention_mask', 'position_ids'] },
      'input position_ids is not known',
    ],
    [
      'a fixed length',
      { inputDims: ['batch', 128] },
      'input input_ids does not take any number of rows and tokens',
    ],
  ] satisfies [string, EncoderOptions, string][])('%s is refused', (_what, options, reason) => {
    expect(refusal(options)).toBe(reason);
  });
});

describe('attention', () => {
  const parts = (options: Parameters<typeof attention>[0] = {}) => {
    const { nodes, weights } = attention(options);
    return { nodes, weights: [...weights, ...constants, ...attentionConstants] };
  };

  it('without a mask would see the padding', () => {
    expect(refusal(parts())).toBe('');
    expect(refusal(parts({ masked: false }))).toMatch(
      /Add \(last_hidden_state\).*something that is no constant/,
    );
  });

  it('must end in tokens again', () => {
    const { nodes, weights } = parts({ to: 'h' });
    const cut = nodes.filter(({ outputs }) => !['h', 'h_attended'].includes(outputs[0]!));
    expect(refusal({ nodes: [...cut, on('Identity', ['h_mixed_t'])], weights })).toBe(
      'output last_hidden_state may hold padding',
    );
  });

  it('gathers once where queries, keys and values come from one matrix, else three times', () => {
    const gathers = (split: boolean) => {
      const { graph } = pack(readGraph(encoder(parts({ split }))));
      return graph.nodes.filter(({ inputs }) => inputs.includes('packing.pad_index')).length;
    };
    expect([gathers(true), gathers(false)]).toEqual([1, 3]);
  });

  it('gives the graph the inputs that it needs, and no others', () => {
    const added = (options: EncoderOptions) =>
      pack(readGraph(encoder(options)))
        .graph.inputs.map(({ name }) => name)
        .slice(2);
    expect(added({})).toEqual([]);
    expect(added(parts())).toEqual(['packing.pad_index', 'packing.unpad_index']);
    expect(added({ nodes: first(on('MatMul', ['first', 'w'])), weights: constants })).toEqual([
      'packing.first_index',
    ]);
  });

  it('does not hinder an output that no text is served from', () => {
    const graph = readGraph(
      encoder({ nodes: [on('Identity', ['x']), node('ReduceMean', ['x'], 'other')], weights: constants }),
    );
    expect(pack(graph).graph.nodes.map(({ opType }) => opType)).toEqual([
      'Gather',
      'Identity',
      'Flatten',
      'Gather',
      'ReduceMean',
    ]);
    expect(() => packTokens(graph, 'other')).toThrow(ACROSS);
  });

  it('counts the ids of each input by the smallest table', () => {
    const nodes = [node('Gather', ['w', 'input_ids'], 'y'), on('Add', ['x', 'y'])];
    expect(pack(readGraph(encoder({ nodes, weights: constants }))).idCounts).toEqual(
      new Map([['input_ids', 8]]),
    );
  });
});

describe('quantisation per token', () => {
  const fused = (options: EncoderOptions) => {
    const { graph } = fuseRowQuantize(pack(readGraph(encoder(options))));
    return graph.nodes.map(({ opType }) => opType);
  };
  const isFused = (options: EncoderOptions) => {
    const operators = fused(options);
    expect(operators.includes('QuantizeLinear')).toBe(!operators.includes('Round'));
    return operators.includes('QuantizeLinear');
  };

  it('becomes one operator', () => {
    expect(isFused(rowQuantized())).toBe(true);
    expect(fused(rowQuantized()).slice(0, 5)).toEqual([
      'Shape',
      'Concat',
      'Reshape',
      'Shape',
      'ConstantOfShape',
    ]);
  });

  it.each<[string, EncoderOptions]>([
    ['another zero point', rowQuantized(100)],
    ['a version without scales per row', { ...rowQuantized(), opset: 12 }],
    [
      'a result between that is used elsewhere',
      { ...rowQuantized(), nodes: [...rowQuantized().nodes, node('Neg', ['rounded'], 'negative')] },
    ],
    [
      'another type',
      {
        ...rowQuantized(),
        nodes: rowQuantized().nodes.map((one) =>
          one.outputs[0] === 'quantized' ? { ...one, attributes: { to: 3 } } : one,
        ),
      },
    ],
    [
      'one scale for all',
      {
        weights: [...rowQuantized().weights, numbers('fixed', 2)],
        nodes: rowQuantized().nodes.map((one) =>
          one.type === 'Div' ? { ...one, inputs: ['x', 'fixed'] } : one,
        ),
      },
    ],
  ])('stays as it is with %s', (_what, options) => {
    expect(isFused(options)).toBe(false);
  });
});
