import { type Dimension, ELEMENT, type Node, onnxModel, type Weights } from './onnx-message.ts';

export const WIDTH = 8;
export const IDS = 40;
const POSITIONS = 32;

/** Values in [-1, 1) that depend on nothing but the name. */
function noise(name: string, count: number): Uint8Array {
  let state = [...name].reduce((sum, letter) => Math.imul(sum, 31) + letter.charCodeAt(0), 7) >>> 0;
  const values = Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
  return new Uint8Array(values.buffer);
}

/** A constant of random numbers. */
export const random = (name: string, ...dims: number[]): Weights => ({
  name,
  element: 'FP32',
  dims,
  data: noise(
    name,
    dims.reduce((product, dim) => product * dim, 1),
  ),
});

/** A constant of floats; one value is a scalar. */
export const numbers = (name: string, ...values: number[]): Weights => ({
  name,
  element: 'FP32',
  dims: values.length === 1 ? [] : [values.length],
  data: new Uint8Array(Float32Array.from(values).buffer),
});

/** A constant list of integers. */
export const list = (name: string, ...values: number[]): Weights => ({
  name,
  element: 'INT64',
  dims: [values.length],
  data: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
});

/** A constant integer without an axis. */
export const index = (name: string, value: number): Weights => ({ ...list(name, value), dims: [] });

export const node = (
  type: string,
  inputs: string[],
  outputs: string | string[],
  attributes: Node['attributes'] = {},
): Node => ({ type, inputs, outputs: [outputs].flat(), attributes });

export interface Part {
  nodes?: Node[];
  weights?: Weights[];
}

export interface EncoderOptions extends Part {
  opset?: number;
  inputs?: string[];
  inputDims?: Dimension[];
  output?: { name: string; dims: Dimension[] };
}

/**
 * A text encoder whose tokens' states [batch, sequence, 8] are `x`, a row of a table; what makes its output of them is the
 * test's. Without `nodes` they are the output.
 */
export function encoder(options: EncoderOptions = {}): Uint8Array {
  const { nodes = [], weights = [], inputs = ['input_ids', 'attention_mask'] } = options;
  const output = options.output ?? {
    name: 'last_hidden_state',
    dims: ['batch', 'sequence', WIDTH] as Dimension[],
  };
  return onnxModel({
    nodes: [node('Gather', ['table', 'input_ids'], nodes.length === 0 ? output.name : 'x'), ...nodes],
    weights: [random('table', IDS, WIDTH), ...weights],
    inputs: inputs.map((name) => ({
      name,
      element: 'INT64',
      dims: options.inputDims ?? ['batch', 'sequence'],
    })),
    outputs: [{ element: 'FP32', ...output }],
    opset: options.opset,
  });
}

export interface AttentionOptions {
  /** What is attended to: [batch, sequence, 8]. */
  from?: string;
  to?: string;
  /** Whether one matrix makes queries, keys and values. */
  split?: boolean;
  /** How the shapes of heads and context are told: with zeros, or put together from the shape of what is reshaped. */
  shapes?: 'zeros' | 'computed';
  /** Whether padding is masked. */
  masked?: boolean;
}

/** Attention of two heads over `from`, and its sum with it. */
export function attention(options: AttentionOptions = {}): Required<Part> {
  const { from = 'x', to = 'last_hidden_state', split = false, shapes = 'zeros', masked = true } = options;
  const named = (name: string) => `${to}_${name}`;
  const parts = ['q', 'k', 'v'].map(named);
  const projected = split
    ? [
        node('MatMul', [from, named('wqkv')], named('qkv')),
        node('Split', [named('qkv'), named('sizes')], parts, { axis: -1 }),
      ]
    : parts.map((part) => node('MatMul', [from, `${part}w`], part));
  const [heads, context] = shapes === 'zeros' ? ['heads0', 'context0'] : [named('heads'), named('context')];
  const computed = [
    node('Shape', [parts[0]!], named('shape')),
    node('Gather', [named('shape'), 'zero'], named('rows')),
    node('Gather', [named('shape'), 'one'], named('tokens')),
    node('Unsqueeze', [named('rows'), 'first_axis'], named('rows1')),
    node('Unsqueeze', [named('tokens'), 'first_axis'], named('tokens1')),
    node('Concat', [named('rows1'), named('tokens1'), 'two_heads', 'rest'], heads, { axis: 0 }),
    node('Concat', [named('rows1'), named('tokens1'), 'rest'], context, { axis: 0 }),
  ];
  const turned = (part: number, perm: number[]) => [
    node('Reshape', [parts[part]!, heads], `${parts[part]}4`),
    node('Transpose', [`${parts[part]}4`], `${parts[part]}t`, { perm }),
  ];
  const scores = named('scores');
  return {
    nodes: [
      ...projected,
      ...(shapes === 'computed' ? computed : []),
      ...turned(0, [0, 2, 1, 3]),
      ...turned(1, [0, 2, 3, 1]),
      ...turned(2, [0, 2, 1, 3]),
      node('MatMul', [`${parts[0]}t`, `${parts[1]}t`], scores),
      node('Cast', ['attention_mask'], named('mask_float'), { to: ELEMENT.FP32 }),
      node('Unsqueeze', [named('mask_float'), 'middle_axes'], named('mask4')),
      node('Sub', ['one_float', named('mask4')], named('hidden')),
      node('Mul', [named('hidden'), 'least'], named('bias')),
      ...(masked ? [node('Add', [scores, named('bias')], named('masked'))] : []),
      node('Softmax', [masked ? named('masked') : scores], named('shares'), { axis: -1 }),
      node('MatMul', [named('shares'), `${parts[2]}t`], named('mixed')),
      node('Transpose', [named('mixed')], named('mixed_t'), { perm: [0, 2, 1, 3] }),
      node('Reshape', [named('mixed_t'), context], named('attended')),
      node('Add', [named('attended'), from], to),
    ],
    weights: [
      ...(split
        ? [random(named('wqkv'), WIDTH, 3 * WIDTH), list(named('sizes'), WIDTH, WIDTH, WIDTH)]
        : parts.map((part) => random(`${part}w`, WIDTH, WIDTH))),
    ],
  };
}

/** The constants that `attention` shares. */
export const attentionConstants: Weights[] = [
  list('heads0', 0, 0, 2, WIDTH / 2),
  list('context0', 0, 0, WIDTH),
  list('two_heads', 2),
  list('rest', -1),
  list('first_axis', 0),
  list('middle_axes', 1, 2),
  index('zero', 0),
  index('one', 1),
  numbers('one_float', 1),
  numbers('least', -10_000),
];

/** Positions as exporters make them: counted, or cut from a table of positions; their states are `p`. */
export function positions(how: 'range' | 'slice'): Required<Part> {
  const table = random('position_table', POSITIONS, WIDTH);
  const length = [
    node('Shape', ['input_ids'], 'ids_shape'),
    node('Gather', ['ids_shape', 'p_one'], 'ids_length'),
  ];
  if (how === 'range')
    return {
      nodes: [
        ...length,
        node('Range', ['p_zero', 'ids_length', 'p_one'], 'p_ids'),
        node('Gather', ['position_table', 'p_ids'], 'p'),
      ],
      weights: [table, index('p_zero', 0), index('p_one', 1)],
    };
  return {
    nodes: [
      ...length,
      node('Unsqueeze', ['ids_length', 'p_first'], 'p_end'),
      node('Slice', ['p_all', 'p_first', 'p_end', 'p_axis'], 'p_ids'),
      node('Gather', ['position_table', 'p_ids'], 'p'),
    ],
    weights: [
      table,
      index('p_one', 1),
      list('p_first', 0),
      list('p_axis', 1),
      { ...list('p_all', ...Array(POSITIONS).keys()), dims: [1, POSITIONS] },
    ],
  };
}

/** Quantisation of `x` by a scale per token, times a matrix of int8, as `y`. */
export function rowQuantized(offset = 128): Required<Part> {
  return {
    nodes: [
      node('Abs', ['x'], 'abs'),
      node('ReduceMax', ['abs'], 'most', { axes: [-1], keepdims: 1 }),
      node('Mul', ['most', 'share'], 'scale0'),
      node('Add', ['scale0', 'tiny'], 'scale'),
      node('Div', ['x', 'scale'], 'divided'),
      node('Round', ['divided'], 'rounded'),
      node('Add', ['rounded', 'offset'], 'moved'),
      node('Cast', ['moved'], 'quantized', { to: 2 }),
      node('Cast', ['quantized'], 'floats', { to: ELEMENT.FP32 }),
      node('Mul', ['floats', 'scale'], 'last_hidden_state'),
    ],
    weights: [numbers('share', 1 / 127), numbers('tiny', 1e-8), numbers('offset', offset)],
  };
}
