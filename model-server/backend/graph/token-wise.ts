import {
  argumentOf,
  type Fact,
  type Flat,
  intOf,
  intsOf,
  isTokenFree,
  numbersOf,
  type Plain,
} from './facts.ts';
import type { GraphNode } from './graph.ts';
import { splitShapes } from './plain-shapes.ts';
import { axisOf, broadcast, type Dim, reshaped } from './symbols.ts';

/** The features of each output, or why the operator can't be trusted with tokens in one row. */
export type TokenWise = { features: readonly (readonly Dim[])[] } | { refusal: string };

interface Call {
  node: GraphNode;
  /** At least one is flat. */
  operands: readonly (Fact | undefined)[];
  opset: number;
}

/** Operators that make each value of an output from the values in the same place of their inputs. */
const ELEMENT_WISE: ReadonlySet<string> = new Set(
  (
    'Add Sub Mul Div Pow Mod Min Max Equal Greater GreaterOrEqual Less LessOrEqual And Or Xor Where Not Cast Identity ' +
    'Abs Neg Sign Sqrt Reciprocal Exp Log Erf Round Floor Ceil Clip Tanh Sigmoid HardSigmoid HardSwish Relu LeakyRelu Elu ' +
    'Selu Softplus Softsign Mish Gelu IsNaN IsInf'
  ).split(' '),
);
const MICROSOFT_ELEMENT_WISE: ReadonlySet<string> = new Set(['Gelu', 'FastGelu', 'BiasGelu', 'QuickGelu']);

/** Whether an operator works value by value. */
export function isElementWise({ domain, opType }: GraphNode): boolean {
  if (domain === 'com.microsoft') return MICROSOFT_ELEMENT_WISE.has(opType);
  return domain === '' && ELEMENT_WISE.has(opType);
}

/** What an operator that sees one token at a time makes of flat things. */
export function tokenWise(call: Call): TokenWise {
  const { domain, opType } = call.node;
  if (isElementWise(call.node)) return elementWise(call);
  const rule = domain === '' ? RULES[opType] : MICROSOFT_RULES[`${domain}.${opType}`];
  return rule?.(call) ?? { refusal: 'it is none of those that look at one token at a time' };
}

const one = (features: readonly Dim[]): TokenWise => ({ features: [features] });
const no = (refusal: string): TokenWise => ({ refusal });
const flatOf = (fact: Fact | undefined): Flat | undefined => (fact?.kind === 'flat' ? fact : undefined);
const isSingle = (fact: Fact | undefined) =>
  fact === undefined || (isTokenFree(fact) && fact.shape.every((dim) => dim === 1));

const RULES: Record<string, (call: Call) => TokenWise> = {
  ...Object.fromEntries(
    'Mean Max Min Sum Prod L1 L2 LogSum LogSumExp SumSquare'
      .split(' ')
      .map((name) => [`Reduce${name}`, reduce]),
  ),
  MatMul: matMul,
  MatMulInteger: (call) =>
    isSingle(call.operands[2]) && (call.operands[3] === undefined || isTokenFree(call.operands[3]))
      ? matMul(call)
      : no('its zero points depend on the tokens'),
  QuantizeLinear: perTensor,
  DequantizeLinear: perTensor,
  LayerNormalization: (call) => lastAxis(call, -1),
  Softmax: (call) => lastAxis(call, call.opset < 13 ? 1 : -1),
  LogSoftmax: (call) => lastAxis(call, call.opset < 13 ? 1 : -1),
  Gather: gather,
  Slice: slice,
  Split: split,
  Unsqueeze: unsqueeze,
  Squeeze: squeeze,
  Concat: concat,
  Transpose: transpose,
  Reshape: reshape,
};

const MICROSOFT_RULES: Record<string, (call: Call) => TokenWise> = {
  'com.microsoft.MatMulNBits': ({ node, operands: [states, ...weights] }) => {
    const width = intOf(node, 'N');
    const isFixed = weights.every((fact) => fact === undefined || isTokenFree(fact));
    const flat = flatOf(states);
    if (flat === undefined || flat.features.length === 0 || !isFixed)
      return no('its weights depend on the tokens');
    return one([...flat.features.slice(0, -1), width]);
  },
};

function elementWise({ operands }: Call): TokenWise {
  const flats = operands.filter((fact) => fact?.kind === 'flat');
  const [{ features }] = flats as [Flat];
  if (flats.some((flat) => flat.features.length !== features.length))
    return no('it combines tensors of different ranks');
  const others = operands.filter((fact): fact is Plain => fact?.kind === 'plain');
  for (const other of others) {
    if (!isTokenFree(other)) return no('it combines tokens with something that is no constant');
    const leading = other.shape.slice(0, Math.max(0, other.shape.length - features.length));
    if (leading.length > 2 || leading.some((dim) => dim !== 1))
      return no(`it combines tokens with a constant of shape [${other.shape.join(', ')}]`);
  }
  const trailing = others.map(({ shape }) => shape!.slice(Math.max(0, shape!.length - features.length)));
  return one(broadcast([...flats.map((flat) => (flat as Flat).features), ...trailing])!);
}

/** Axes of the input counted from the front, when all of them are features. */
function featureAxes(axes: readonly number[] | 'unknown' | undefined, rank: number): number[] | undefined {
  if (!Array.isArray(axes) || axes.length === 0) return undefined;
  const counted = axes.map((axis: number) => axisOf(axis, rank));
  return counted.every((axis) => axis >= 2 && axis < rank) ? counted : undefined;
}

const ACROSS = 'it works across tokens or rows';

function reduce({ node, operands }: Call): TokenWise {
  const flat = flatOf(operands[0]);
  if (flat === undefined) return no(ACROSS);
  const axes = featureAxes(
    argumentOf(node, operands, { attribute: 'axes', input: 1 }),
    flat.features.length + 2,
  );
  if (axes === undefined) return no(ACROSS);
  const keeps = intOf(node, 'keepdims') !== 0;
  const isReduced = (at: number) => axes.includes(at + 2);
  return one(
    keeps
      ? flat.features.map((dim, at) => (isReduced(at) ? 1 : dim))
      : flat.features.filter((_, at) => !isReduced(at)),
  );
}

function matMul({ operands: [states, weights] }: Call): TokenWise {
  const flat = flatOf(states);
  if (flat === undefined || flat.features.length === 0 || !isTokenFree(weights) || weights.shape.length !== 2)
    return no('it multiplies tokens with something else than a constant matrix on the right');
  return one([...flat.features.slice(0, -1), weights.shape[1]]);
}

function perTensor({ operands: [states, scale, zero] }: Call): TokenWise {
  const flat = flatOf(states);
  return flat !== undefined && isSingle(scale) && isSingle(zero)
    ? one(flat.features)
    : no('its scale is not one constant for all tokens');
}

function lastAxis({ node, operands: [states, ...others] }: Call, usual: number): TokenWise {
  const flat = flatOf(states);
  if (flat === undefined || flat.features.length === 0) return no(ACROSS);
  const rank = flat.features.length + 2;
  if (axisOf(intOf(node, 'axis') ?? usual, rank) !== rank - 1) return no(ACROSS);
  if (!others.every((fact) => fact === undefined || isTokenFree(fact)))
    return no('its scale or bias depends on the tokens');
  const statistics = [...flat.features.slice(0, -1), 1];
  return { features: node.outputs.map((_, at) => (at === 0 ? flat.features : statistics)) };
}

function gather({ node, operands: [data, index] }: Call): TokenWise {
  const axis = intOf(node, 'axis') ?? 0;
  if (index?.kind === 'flat') {
    if (!isTokenFree(data) || axisOf(axis, data.shape.length) !== 0)
      return no('it looks tokens up in something else than the rows of a constant table');
    return one([...index.features, ...data.shape.slice(1)]);
  }
  const flat = flatOf(data)!;
  const [at] = featureAxes([axis], flat.features.length + 2) ?? [];
  if (at === undefined || !isTokenFree(index)) return no(ACROSS);
  return one([...flat.features.slice(0, at - 2), ...index.shape, ...flat.features.slice(at - 1)]);
}

const END = 2 ** 31 - 1;

function slice({ node, operands }: Call): TokenWise {
  const flat = flatOf(operands[0]);
  if (flat === undefined) return no(ACROSS);
  const rank = flat.features.length + 2;
  const of = (attribute: string, input: number) => argumentOf(node, operands, { attribute, input });
  const [starts, ends, axes, steps] = [of('starts', 1), of('ends', 2), of('axes', 3), of('steps', 4)];
  if (!Array.isArray(starts) || !Array.isArray(ends) || axes === 'unknown' || steps === 'unknown')
    return no('its bounds are computed');
  const features = [...flat.features];
  for (const [at, start] of starts.entries()) {
    const axis = axisOf(axes?.[at] ?? at, rank);
    const isWhole = start === 0 && ends[at]! >= END && (steps?.[at] ?? 1) === 1;
    if (isWhole) continue;
    if (axis < 2) return no(ACROSS);
    features[axis - 2] = undefined;
  }
  return one(features);
}

function split({ node, operands }: Call): TokenWise {
  const flat = flatOf(operands[0]);
  if (flat === undefined) return no(ACROSS);
  const rank = flat.features.length + 2;
  if (featureAxes([intOf(node, 'axis') ?? 0], rank) === undefined) return no(ACROSS);
  const parts = splitShapes(node, ['B', 'S', ...flat.features], operands);
  return { features: parts.map((part) => part!.slice(2)) };
}

function unsqueeze({ node, operands }: Call): TokenWise {
  const flat = flatOf(operands[0]);
  const axes = argumentOf(node, operands, { attribute: 'axes', input: 1 });
  if (flat === undefined || !Array.isArray(axes)) return no(ACROSS);
  const rank = flat.features.length + 2 + axes.length;
  const added = featureAxes(axes, rank);
  if (added === undefined) return no(ACROSS);
  const left = [...flat.features];
  return one(Array.from({ length: rank - 2 }, (_, at) => (added.includes(at + 2) ? 1 : left.shift())));
}

function squeeze({ node, operands }: Call): TokenWise {
  const flat = flatOf(operands[0]);
  const axes = argumentOf(node, operands, { attribute: 'axes', input: 1 });
  const dropped = flat && featureAxes(axes, flat.features.length + 2);
  return dropped === undefined
    ? no(ACROSS)
    : one(flat!.features.filter((_, at) => !dropped.includes(at + 2)));
}

function concat({ node, operands }: Call): TokenWise {
  const flats = operands.map(flatOf);
  const [first] = flats;
  const isAlike = flats.every((flat) => flat?.features.length === first?.features.length);
  if (first === undefined || !isAlike) return no('it joins tokens with something else');
  const [axis] = featureAxes([intOf(node, 'axis') ?? 0], first.features.length + 2) ?? [];
  if (axis === undefined) return no(ACROSS);
  const lengths = flats.map((flat) => flat!.features[axis - 2]);
  const sum = lengths.every((length) => typeof length === 'number')
    ? lengths.reduce((total, length) => total + length, 0)
    : undefined;
  return one(first.features.map((dim, at) => (at === axis - 2 ? sum : dim)));
}

function transpose({ node, operands: [states] }: Call): TokenWise {
  const flat = flatOf(states);
  const perm = intsOf(node, 'perm');
  if (flat === undefined || perm?.[0] !== 0 || perm[1] !== 1) return no(ACROSS);
  return one(perm.slice(2).map((axis) => flat.features[axis - 2]));
}

/** With zeros for rows and tokens Reshape takes both over, whatever they are. */
function reshape({ node, operands: [states, shape] }: Call): TokenWise {
  const flat = flatOf(states);
  const target = numbersOf(shape);
  if (flat === undefined || !takesOverTokens(node, target)) return no(ACROSS);
  return one(reshaped(['B', 'S', ...flat.features], target!, false).slice(2));
}

/** Whether a Reshape says 0 for rows and tokens. */
export function takesOverTokens(node: GraphNode, target: readonly number[] | undefined): boolean {
  return target?.[0] === 0 && target[1] === 0 && intOf(node, 'allowzero') !== 1;
}
