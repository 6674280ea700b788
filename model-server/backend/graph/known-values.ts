import { constantFact, type Fact, intOf, type Known, numbersOf, type Plain } from './facts.ts';
import type { GraphNode } from './graph.ts';
import type { Dim } from './symbols.ts';

type Operands = readonly (Fact | undefined)[];

/** Longest list of which the items are followed. */
const MOST_ITEMS = 64;

/** What an operator makes of shapes, indexes and axes; undefined when that is not followed. */
export function knownValue(node: GraphNode, operands: Operands): Known | undefined {
  const evaluate = node.domain === '' ? EVALUATORS[node.opType] : undefined;
  const known = evaluate?.(node, operands);
  return known !== undefined && known.items.length <= MOST_ITEMS ? known : undefined;
}

const knownOf = (fact: Fact | undefined) => (fact?.kind === 'plain' ? fact.known : undefined);
const list = (items: readonly Dim[]): Known => ({ rank: 1, items });
const same = (_node: GraphNode, [first]: Operands) => knownOf(first);

const EVALUATORS: Record<string, (node: GraphNode, operands: Operands) => Known | undefined> = {
  Identity: same,
  Cast: same,
  Constant: constantValue,
  Shape: shapeValue,
  Gather: gatherValue,
  Slice: sliceValue,
  Concat: (_node, operands) => {
    const parts = operands.map(knownOf);
    return parts.includes(undefined) ? undefined : list(parts.flatMap((part) => part!.items));
  },
  Squeeze: (_node, [first]) => {
    const known = knownOf(first);
    return known?.items.length === 1 ? { rank: 0, items: known.items } : undefined;
  },
  Unsqueeze: (_node, [first]) => {
    const known = knownOf(first);
    return known?.rank === 0 ? list(known.items) : undefined;
  },
  Reshape: (_node, [first, target]) => {
    const known = knownOf(first);
    return known !== undefined && numbersOf(target)?.length === 1 ? list(known.items) : undefined;
  },
  ConstantOfShape: (node, [shape]) => {
    const [length, ...more] = numbersOf(shape) ?? [];
    const value = node.attributes.get('value')?.tensor?.values?.[0] ?? 0;
    if (length === undefined || more.length > 0 || length > MOST_ITEMS) return undefined;
    return list(Array.from({ length }, () => value));
  },
  Mul: combined((a, b) => numeric(a, b, (x, y) => x * y)),
  Add: combined((a, b) => numeric(a, b, (x, y) => x + y)),
  Sub: combined((a, b) => numeric(a, b, (x, y) => x - y)),
  Equal: combined(isEqual),
  Where: (_node, [condition, yes, no]) => {
    const [chosen, a, b] = [knownOf(condition), knownOf(yes), knownOf(no)];
    if (chosen === undefined || a === undefined || b === undefined) return undefined;
    const pick = (which: Dim, at: number) =>
      which === undefined ? undefined : itemAt(which === 0 ? b : a, at);
    return { rank: chosen.rank, items: chosen.items.map(pick) };
  },
};

function constantValue(node: GraphNode): Known | undefined {
  const tensor = node.attributes.get('value')?.tensor;
  if (tensor !== undefined) return constantFact(tensor).known;
  const int = intOf(node, 'value_int');
  if (int !== undefined) return { rank: 0, items: [int] };
  const ints = node.attributes.get('value_ints')?.ints;
  return ints && list(ints);
}

/** Of something plain; shapes of flat things are written anew before. */
function shapeValue(node: GraphNode, [first]: Operands): Known | undefined {
  if (first?.kind !== 'plain' || first.shape === undefined) return undefined;
  return list(first.shape.slice(intOf(node, 'start') ?? 0, intOf(node, 'end')));
}

function gatherValue(_node: GraphNode, [data, index]: Operands): Known | undefined {
  const [known, places] = [knownOf(data), numbersOf(index)];
  if (known?.rank !== 1 || places === undefined) return undefined;
  const items = places.map((place) => known.items.at(place));
  return { rank: (index as Plain).known!.rank, items };
}

function sliceValue(_node: GraphNode, [data, starts, ends, , steps]: Operands): Known | undefined {
  const known = knownOf(data);
  const [start, end] = [numbersOf(starts)?.[0], numbersOf(ends)?.[0]];
  const isForward = steps === undefined || numbersOf(steps)?.[0] === 1;
  if (known?.rank !== 1 || start === undefined || end === undefined || !isForward) return undefined;
  return list(known.items.slice(start, end));
}

function combined(combine: (a: Dim, b: Dim) => Dim) {
  return (_node: GraphNode, [first, second]: Operands): Known | undefined => {
    const [a, b] = [knownOf(first), knownOf(second)];
    if (a === undefined || b === undefined) return undefined;
    const longer = b.items.length > a.items.length || b.rank > a.rank ? b : a;
    if (![1, longer.items.length].includes(Math.min(a.items.length, b.items.length))) return undefined;
    return { rank: longer.rank, items: longer.items.map((_, at) => combine(itemAt(a, at), itemAt(b, at))) };
  };
}

const itemAt = ({ items }: Known, at: number) => (items.length === 1 ? items[0] : items[at]);

function numeric(a: Dim, b: Dim, combine: (x: number, y: number) => number): Dim {
  return typeof a === 'number' && typeof b === 'number' ? combine(a, b) : undefined;
}

/** Lengths are never negative, which is what exporters ask. */
function isEqual(a: Dim, b: Dim): Dim {
  if (a === undefined || b === undefined) return undefined;
  if (typeof a === typeof b && a === b) return 1;
  const [letter, number] = typeof a === 'string' ? [a, b] : [b, a];
  if (typeof letter === 'string') return typeof number === 'number' && number < 0 ? 0 : undefined;
  return 0;
}
