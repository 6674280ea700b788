import type { Attribute, GraphNode, Weights } from './graph.ts';
import type { Dim, Shape } from './symbols.ts';

/** Few integers whose values are known as far as they are numbers or lengths: a shape, an index, axes. */
export interface Known {
  /** A scalar has rank 0. */
  rank: 0 | 1;
  items: readonly Dim[];
}

/** Something with one cell per token: [1, N, ...features] instead of [B, S, ...features]. */
export interface Flat {
  kind: 'flat';
  features: readonly Dim[];
}

/** Something that is as the file means it, with B rows and S tokens in the longest of them. */
export interface Plain {
  kind: 'plain';
  shape: Shape;
  known?: Known | undefined;
  /** Whether cells of padding may hold something else than in the file's own graph. */
  padded: boolean;
  /** Whether the attention mask had a part in it. */
  masked: boolean;
}

/** What is known of a tensor. */
export type Fact = Flat | Plain;

/** The fact of a tensor that the file holds. */
export function constantFact({ dims, values }: Weights): Plain {
  const isSmall = values !== undefined && dims.length <= 1;
  const known = isSmall ? { rank: dims.length as 0 | 1, items: values } : undefined;
  return { kind: 'plain', shape: dims, known, padded: false, masked: false };
}

/** Whether it is the same for every text and every token. */
export function isTokenFree(fact: Fact | undefined): fact is Plain & { shape: readonly number[] } {
  if (fact?.kind !== 'plain' || fact.padded || fact.masked) return false;
  return fact.shape?.every((dim) => typeof dim === 'number') === true;
}

/** An attribute that is an integer. */
export function intOf(node: GraphNode, name: string): number | undefined {
  return attribute(node, name)?.int;
}

/** An attribute that is a list of integers. */
export function intsOf(node: GraphNode, name: string): readonly number[] | undefined {
  return attribute(node, name)?.ints;
}

function attribute(node: GraphNode, name: string): Attribute | undefined {
  return node.attributes.get(name);
}

/** Numbers that are all known. */
export function numbersOf(fact: Fact | undefined): readonly number[] | undefined {
  const items = fact?.kind === 'plain' ? fact.known?.items : undefined;
  return items?.every((item) => typeof item === 'number') ? (items as number[]) : undefined;
}

/**
 * What an operator takes as an attribute in old versions and as an input in new ones.
 * @returns undefined when it is absent, `unknown` when it is computed
 */
export function argumentOf(
  node: GraphNode,
  operands: readonly (Fact | undefined)[],
  { attribute, input }: { attribute: string; input: number },
): readonly number[] | 'unknown' | undefined {
  const ints = intsOf(node, attribute);
  if (ints !== undefined) return ints;
  const isThere = (node.inputs[input] ?? '') !== '';
  return isThere ? (numbersOf(operands[input]) ?? 'unknown') : undefined;
}
