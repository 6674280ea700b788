import { type Flat, intOf, numbersOf, type Plain } from './facts.ts';
import type { GraphNode } from './graph.ts';
import { keepPlain } from './keep-plain.ts';
import { withPorts } from './make-node.ts';
import { type FlatStep, operandOf, type Step } from './step.ts';
import { axisOf } from './symbols.ts';
import { takesOverTokens } from './token-wise.ts';

/** Whether an operator makes rows of tokens, as attention needs them. */
export function leavesRow({ packing, node, operands, consumers }: FlatStep): boolean {
  if (node.opType === 'Split') {
    // One gather before the split is cheaper than one for each part.
    const users = node.outputs.flatMap((name) => consumers.get(name) ?? []);
    return (
      users.length > 0 &&
      users.every(({ opType }) => opType === 'Reshape') &&
      isLastAxis(node, operands[0] as Flat)
    );
  }
  if (node.opType !== 'Reshape') return false;
  const target = packing.facts.get(node.inputs[1]!) as Plain;
  return !(takesOverTokens(node, numbersOf(target)) && target.known?.items.length === 3);
}

function isLastAxis(node: GraphNode, { features }: Flat): boolean {
  const rank = features.length + 2;
  return features.length === 1 && axisOf(intOf(node, 'axis') ?? 0, rank) === rank - 1;
}

/** Runs an operator on rows, as the file means it. */
export function inPaddedLayout({ packing, node, operands }: Step): void {
  const inputs = paddedInputs({ packing, node, operands });
  keepPlain({
    packing,
    node: withPorts(node, { inputs }),
    operands: inputs.map((name) => operandOf(packing, name)),
  });
}

function paddedInputs({ packing, node, operands }: Step): string[] {
  return node.inputs.map((name, at) => (operands[at]?.kind === 'flat' ? packing.padded(name) : name));
}

/** Sums of what came before do not depend on the padding, which comes after. */
export function sumsForward({ node, operands: [states, axis] }: FlatStep): boolean {
  if (node.domain !== '' || node.opType !== 'CumSum' || states?.kind !== 'flat') return false;
  const [along] = numbersOf(axis) ?? [];
  const isAlongTokens = along === 1 || along === -1;
  return isAlongTokens && states.features.length === 0 && !intOf(node, 'reverse');
}

/** Whether each cell is looked up by its own index in what its own row has, which knows nothing of padding. */
export function looksUpInItsRow({ node, operands: [table, index] }: FlatStep): boolean {
  if (node.domain !== '' || node.opType !== 'GatherElements') return false;
  const isTable =
    table?.kind === 'plain' && !table.padded && table.shape?.length === 2 && table.shape[0] === 'B';
  const isIndex = index?.kind === 'flat' && index.features.length === 0;
  return isTable && isIndex && axisOf(intOf(node, 'axis') ?? 0, 2) === 1;
}

/** Runs an operator in the padded layout and takes the cells of tokens out again. */
export function throughPaddedLayout({ packing, node, operands }: FlatStep): void {
  const [out] = node.outputs as [string];
  const inputs = paddedInputs({ packing, node, operands });
  const cells = `packing.${out}.padded_result`;
  packing.nodes.push(withPorts(node, { inputs, outputs: [cells] }));
  packing.facts.set(cells, { kind: 'plain', shape: ['B', 'S'], padded: true, masked: false });
  packing.unpad([cells, out]);
}
