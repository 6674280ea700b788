import { argumentOf, type Fact, intOf, intsOf, numbersOf } from './facts.ts';
import type { GraphNode } from './graph.ts';
import { axisOf, broadcast, type Dim, reshaped, type Shape } from './symbols.ts';

type Operands = readonly (Fact | undefined)[];
type Rule = (node: GraphNode, shapes: readonly Shape[], operands: Operands) => Shape;

/** The shapes of an operator's outputs among plain things; undefined for those that are not followed. */
export function plainShapes(node: GraphNode, operands: Operands): Shape[] {
  const shapes = operands.map((fact) => (fact?.kind === 'plain' ? fact.shape : undefined));
  if (node.domain !== '' && node.domain !== 'com.microsoft') return node.outputs.map(() => undefined);
  if (node.opType === 'Split') return splitShapes(node, shapes[0], operands);
  return node.outputs.map((_, at) => (at === 0 ? RULES[node.opType]?.(node, shapes, operands) : undefined));
}

/** The parts that Split makes of a shape. */
export function splitShapes(node: GraphNode, whole: Shape, operands: Operands): Shape[] {
  if (whole === undefined) return node.outputs.map(() => undefined);
  const axis = axisOf(intOf(node, 'axis') ?? 0, whole.length);
  const sizes = argumentOf(node, operands, { attribute: 'split', input: 1 });
  const length = whole[axis];
  const equal = typeof length === 'number' ? Math.ceil(length / node.outputs.length) : undefined;
  const sizeOf = (part: number): Dim => {
    if (sizes === 'unknown') return undefined;
    if (sizes !== undefined) return sizes[part];
    const isLast = part === node.outputs.length - 1;
    // With a remainder the last part is the smaller one.
    return isLast && typeof length === 'number' ? length - equal! * part : equal;
  };
  return node.outputs.map((_, part) => whole.map((dim, at) => (at === axis ? sizeOf(part) : dim)));
}

const asFirst: Rule = (_node, [first]) => first;
const together: Rule = (_node, shapes) => broadcast(shapes);
const itemsOf = (fact: Fact | undefined) => (fact?.kind === 'plain' ? fact.known?.items : undefined);

const UNARY =
  'Identity Cast Not Neg Abs Sqrt Exp Log Erf Tanh Sigmoid Relu Gelu Floor Ceil Round Sign Reciprocal Softmax LogSoftmax ' +
  'IsNaN IsInf Clip LayerNormalization DequantizeLinear QuantizeLinear CumSum Dropout FastGelu QuickGelu BiasGelu';
const BROADCASTING =
  'Add Sub Mul Div Pow Mod Min Max Equal Greater GreaterOrEqual Less LessOrEqual And Or Xor Where';

const RULES: Record<string, Rule> = {
  ...Object.fromEntries(UNARY.split(' ').map((name) => [name, asFirst])),
  ...Object.fromEntries(BROADCASTING.split(' ').map((name) => [name, together])),
  Constant: (node) =>
    node.attributes.get('value')?.tensor?.dims ??
    (intsOf(node, 'value_ints') && [intsOf(node, 'value_ints')!.length]),
  ConstantOfShape: (_node, _shapes, [shape]) => itemsOf(shape),
  Shape: (node, [first]) => first && [first.slice(intOf(node, 'start') ?? 0, intOf(node, 'end')).length],
  Reshape: (node, [first], operands) => {
    const target = itemsOf(operands[1]);
    return target && reshaped(first, target, intOf(node, 'allowzero') === 1);
  },
  Expand: (_node, [first], operands) => broadcast([first, itemsOf(operands[1])]),
  Transpose: (node, [first]) => {
    const perm = intsOf(node, 'perm');
    return first && (perm?.map((axis) => first[axis]) ?? first.toReversed());
  },
  MatMul: (_node, [a, b]) => product(a, b),
  Gemm: (node, [a, b]) => a && b && [a[intOf(node, 'transA') ? 1 : 0], b[intOf(node, 'transB') ? 0 : 1]],
  Unsqueeze: unsqueezed,
  Squeeze: squeezed,
  Gather: (node, [data, index]) => {
    if (data === undefined || index === undefined) return undefined;
    const axis = axisOf(intOf(node, 'axis') ?? 0, data.length);
    return [...data.slice(0, axis), ...index, ...data.slice(axis + 1)];
  },
  GatherElements: (_node, [, index]) => index,
  GatherND: (node, [data, index]) => {
    const depth = index?.at(-1);
    if (data === undefined || index === undefined || typeof depth !== 'number' || intOf(node, 'batch_dims'))
      return undefined;
    return [...index.slice(0, -1), ...data.slice(depth)];
  },
  Concat: concatenated,
  Range: ranged,
  Slice: sliced,
};

function product(a: Shape, b: Shape): Shape {
  if (a === undefined || b === undefined || a.length < 2 || b.length < 2) return undefined;
  const batch = broadcast([a.slice(0, -2), b.slice(0, -2)]);
  return batch && [...batch, a.at(-2), b.at(-1)];
}

function unsqueezed(node: GraphNode, [first]: readonly Shape[], operands: Operands): Shape {
  const axes = argumentOf(node, operands, { attribute: 'axes', input: 1 });
  if (first === undefined || axes === undefined || axes === 'unknown') return undefined;
  const rank = first.length + axes.length;
  const added = new Set(axes.map((axis) => axisOf(axis, rank)));
  const left = [...first];
  return Array.from({ length: rank }, (_, axis) => (added.has(axis) ? 1 : left.shift()));
}

function squeezed(node: GraphNode, [first]: readonly Shape[], operands: Operands): Shape {
  const axes = argumentOf(node, operands, { attribute: 'axes', input: 1 });
  if (first === undefined || axes === undefined || axes === 'unknown') return undefined;
  const dropped = new Set(axes.map((axis) => axisOf(axis, first.length)));
  return first.filter((_, axis) => !dropped.has(axis));
}

function concatenated(node: GraphNode, shapes: readonly Shape[]): Shape {
  const [first] = shapes;
  if (first === undefined || shapes.includes(undefined)) return undefined;
  const axis = axisOf(intOf(node, 'axis') ?? 0, first.length);
  const lengths = shapes.map((shape) => shape![axis]);
  const sum = lengths.every((length) => typeof length === 'number')
    ? lengths.reduce((total, length) => total + length, 0)
    : undefined;
  return first.map((dim, at) => (at === axis ? sum : dim));
}

/** From 0 in steps of 1, as positions are counted. */
function ranged(_node: GraphNode, _shapes: readonly Shape[], [start, limit, step]: Operands): Shape {
  const counts = numbersOf(start)?.[0] === 0 && numbersOf(step)?.[0] === 1;
  return [counts ? itemsOf(limit)?.[0] : undefined];
}

/** Positions are often cut from a table: 0 up to a length, along one axis after another. */
function sliced(node: GraphNode, [first]: readonly Shape[], operands: Operands): Shape {
  if (first === undefined) return undefined;
  const starts = argumentOf(node, operands, { attribute: 'starts', input: 1 });
  const ends = intsOf(node, 'ends') ?? itemsOf(operands[2]);
  const axes = argumentOf(node, operands, { attribute: 'axes', input: 3 }) ?? first.map((_, axis) => axis);
  const steps = argumentOf(node, operands, { attribute: 'steps', input: 4 });
  if (axes === 'unknown') return first.map(() => undefined);
  const shape: Dim[] = [...first];
  axes.forEach((given, at) => {
    const axis = axisOf(given, first.length);
    const isPlain = Array.isArray(starts) && starts[at] === 0 && (steps === undefined || steps[at] === 1);
    shape[axis] = isPlain ? cut(first[axis], ends?.[at]) : undefined;
  });
  return shape;
}

/** A table that is cut at the length of the longest text has room for it, or the model could not run at all. */
function cut(length: Dim, end: Dim): Dim {
  if (typeof end === 'string') return typeof length === 'number' || length === end ? end : undefined;
  if (end === undefined) return undefined;
  if (typeof length === 'number') return end < 0 ? Math.max(0, length + end) : Math.min(length, end);
  return end >= 2 ** 31 - 1 ? length : undefined;
}
