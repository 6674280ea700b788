import { argumentOf, type Flat, intOf, numbersOf, type Plain } from './facts.ts';
import { makeNode } from './make-node.ts';
import { Unpackable } from './packing.ts';
import { type FlatStep, told } from './step.ts';
import { axisOf } from './symbols.ts';

/** Whether an operator takes the first token of each row: index 0, or a slice from 0 to 1. */
export function isFirstToken({ node, operands }: FlatStep): boolean {
  const [flat] = operands;
  if (node.domain !== '' || flat?.kind !== 'flat') return false;
  if (node.opType === 'Gather') {
    const isZero =
      numbersOf(operands[1])?.every((index) => index === 0) &&
      (operands[1] as Plain).known!.items.length === 1;
    return isZero === true && axisOf(intOf(node, 'axis') ?? 0, flat.features.length + 2) === 1;
  }
  if (node.opType !== 'Slice') return false;
  const of = (attribute: string, input: number) => argumentOf(node, operands, { attribute, input });
  const [starts, ends, axes, steps] = [of('starts', 1), of('ends', 2), of('axes', 3), of('steps', 4)];
  const is = (list: typeof starts, value: number) =>
    Array.isArray(list) && list.length === 1 && list[0] === value;
  return is(starts, 0) && is(ends, 1) && is(axes, 1) && (steps === undefined || is(steps, 1));
}

/** One state per row: from here on everything is plain. */
export function takeFirst({ packing, node, operands }: FlatStep, { features }: Flat): void {
  const [out] = node.outputs as [string];
  if (features.length !== 1)
    throw new Unpackable(`${told(node)}: its first tokens have ${features.length} axes`);
  const isScalar = node.opType === 'Gather' && (operands[1] as Plain).known!.rank === 0;
  const tokens = `packing.${out}.tokens`;
  packing.nodes.push(makeNode('Flatten', [[node.inputs[0]!], [tokens]], { axis: 2 }));
  let index: string = packing.input('first');
  if (!isScalar) {
    const column = `packing.${out}.index`;
    packing.nodes.push(makeNode('Reshape', [[index, packing.integers([-1, 1])], [column]]));
    index = column;
  }
  packing.nodes.push(makeNode('Gather', [[tokens, index], [out]], { axis: 0 }));
  const shape = isScalar ? (['B', ...features] as const) : (['B', 1, ...features] as const);
  packing.facts.set(out, { kind: 'plain', shape, padded: false, masked: false });
}
