import type { Fact } from './facts.ts';
import type { GraphNode } from './graph.ts';
import { type Packing, Unpackable } from './packing.ts';

/** An operator whose turn it is, and what is known of its inputs. */
export interface Step {
  packing: Packing;
  node: GraphNode;
  operands: readonly (Fact | undefined)[];
}

/** One that is given something flat. */
export interface FlatStep extends Step {
  consumers: ReadonlyMap<string, readonly GraphNode[]>;
  opset: number;
}

/** An operator in words, for the reason of a refusal. */
export function told(node: GraphNode): string {
  return `operator ${node.opType} (${node.outputs[0]})`;
}

/** What is known of an input of an operator; undefined for one that is left out. */
export function operandOf(packing: Packing, name: string): Fact | undefined {
  if (name === '') return undefined;
  const fact = packing.facts.get(name);
  if (fact === undefined) throw new Unpackable(`${name} is used before it is made`);
  return fact;
}
