import { type Flat, intOf, type Plain } from './facts.ts';
import { knownValue } from './known-values.ts';
import { makeNode, withPorts } from './make-node.ts';
import { Unpackable } from './packing.ts';
import { type FlatStep, told } from './step.ts';

/** The shape of what is flat would be that of one row; who asks means the padded layout. */
export function writeShape({ packing, node, operands }: FlatStep, { features }: Flat): void {
  const [out] = node.outputs as [string];
  const shape: Plain = { kind: 'plain', shape: ['B', 'S', ...features], padded: false, masked: false };
  const known = knownValue(node, [shape, ...operands.slice(1)])!;
  packing.facts.set(out, { kind: 'plain', shape: [known.items.length], known, padded: false, masked: false });
  const layout = packing.input('pad');
  if (features.length === 0 || (intOf(node, 'end') ?? Infinity) <= 2) {
    packing.nodes.push(withPorts(node, { inputs: [layout] }));
    return;
  }
  const isWhole = (intOf(node, 'start') ?? 0) === 0 && intOf(node, 'end') === undefined;
  if (!isWhole || !features.every((dim) => typeof dim === 'number'))
    throw new Unpackable(`${told(node)}: it asks for a length that is not known`);
  const cells = `packing.${out}.cells`;
  packing.nodes.push(makeNode('Shape', [[layout], [cells]]));
  packing.nodes.push(makeNode('Concat', [[cells, packing.integers(features)], [out]], { axis: 0 }));
}
