import { constantFact, type Fact, type Flat, isTokenFree, type Plain } from './facts.ts';
import { ELEMENT, type Graph, type GraphNode, type Port } from './graph.ts';
import { keepPlain } from './keep-plain.ts';
import { makeNode, withPorts } from './make-node.ts';
import { PACKING_INPUTS, Packing, type PackingInput, Unpackable } from './packing.ts';
import {
  inPaddedLayout,
  leavesRow,
  looksUpInItsRow,
  sumsForward,
  throughPaddedLayout,
} from './padded-layout.ts';
import { type FlatStep, operandOf, type Step, told } from './step.ts';
import type { Dim } from './symbols.ts';
import { isFirstToken, takeFirst } from './take-first.ts';
import { isElementWise, tokenWise } from './token-wise.ts';
import { writeShape } from './write-shape.ts';

/** A graph that takes texts without padding. */
export interface PackedGraph {
  graph: Graph;
  /** Encoded weights that it has more. */
  weights: readonly Uint8Array[];
  /** How many ids there are, by input. */
  idCounts: ReadonlyMap<string, number>;
  /** Of tensors with one cell per token: what each cell holds. */
  flat: ReadonlyMap<string, readonly Dim[]>;
}

/**
 * Rewrites a text encoder so that all its operators that see one token at a time run on a single row of the tokens of all
 * texts, [1, N]; only attention gets rows, [R, L]. Fed with planes of B x S, positions counted and indexes that name every
 * cell in order, it does what it did before.
 *
 * Everything is either flat (one cell per token) or plain (as the file means it, with R for B and L for S). Plain things may
 * go through any operator, for it does there what it always did; flat ones only through those that are known to look at
 * one token at a time. Flat things become plain where they are reshaped into heads, and flat again after attention.
 * What does not lead to the output of texts is computed in the padded layout, for only planes are ever fed for its sake.
 *
 * @param head the output that texts are served from
 * @throws Unpackable with the reason where that can't be shown to be sound
 */
export function packTokens(graph: Graph, head: string): PackedGraph {
  const packing = new Packing();
  const idCounts = new Map<string, number>();
  for (const port of graph.inputs) packing.facts.set(port.name, inputFact(port));
  if (!packing.facts.has('attention_mask')) throw new Unpackable('it has no input attention_mask');
  for (const weights of graph.weights.values()) packing.facts.set(weights.name, constantFact(weights));
  const consumers = consumersOf(graph);
  const leading = leadingTo(head, graph);
  for (const node of graph.nodes) {
    const operands = node.inputs.map((name) => operandOf(packing, name));
    if ([...node.attributes.values()].some(({ hasGraph }) => hasGraph))
      throw new Unpackable(`${told(node)} has graphs of its own`);
    countIds({ node, operands, inputs: graph.inputs }, idCounts);
    const step = { packing, node, operands, consumers, opset: graph.opset };
    if (!operands.some((fact) => fact?.kind === 'flat')) keepPlain(step);
    else if (leading.has(node) || isFirstToken(step)) rewrite(step);
    else inPaddedLayout(step);
  }
  checkHead(packing.facts.get(head), head);
  return {
    graph: {
      ...graph,
      nodes: packing.nodes,
      inputs: [...graph.inputs.map(portOf), ...[...packing.needed].map((which) => EXTRA_PORTS[which])],
      outputs: graph.outputs.map(anonymous),
      inner: graph.inner.flatMap((told) => innerPort(told, packing.facts.get(told.name))),
    },
    weights: packing.weights,
    idCounts,
    flat: new Map(
      [...packing.facts].flatMap(([name, fact]) => (fact.kind === 'flat' ? [[name, fact.features]] : [])),
    ),
  };
}

const TOKENS = ['packed_rows', 'packed_tokens'];
const CELLS = ['padded_rows', 'padded_tokens'];
const port = (name: string, dims: Port['dims']): Port => ({ name, element: ELEMENT.INT64, dims });
/**
 * The runtime takes dimensions of one name for equal, so the two layouts have names of their own. Positions too: it fuses
 * operators on what is equal, which rounds otherwise, and in most files it can't see that positions have the shape of ids.
 */
const EXTRA_PORTS: Record<PackingInput, Port> = {
  positions: port(PACKING_INPUTS.positions, ['position_rows', 'position_tokens']),
  pad: port(PACKING_INPUTS.pad, CELLS),
  unpad: port(PACKING_INPUTS.unpad, TOKENS),
  first: port(PACKING_INPUTS.first, CELLS.slice(0, 1)),
};
const portOf = (given: Port): Port => ({ ...given, dims: given.name === 'attention_mask' ? CELLS : TOKENS });
const anonymous = (given: Port): Port => ({
  ...given,
  dims: given.dims?.map((dim) => (typeof dim === 'number' ? dim : undefined)),
});

/**
 * What the file tells of a shape is told again where it can be: the runtime fuses operators on shapes that it knows, and is to
 * fuse the same ones.
 */
function innerPort(told: Port, fact: Fact | undefined): Port[] {
  if (fact?.kind !== 'flat' || told.dims?.length !== fact.features.length + 2) return [];
  const features = told.dims.slice(2).map((dim) => (typeof dim === 'number' ? dim : undefined));
  return [{ ...told, dims: [...TOKENS, ...features] }];
}

function inputFact({ name, dims }: Port): Fact {
  if (dims?.length !== 2 || dims.some((dim) => typeof dim === 'number' && dim > 0))
    throw new Unpackable(`input ${name} does not take any number of rows and tokens`);
  if (name === 'attention_mask') return { kind: 'plain', shape: ['B', 'S'], padded: false, masked: true };
  if (name === 'input_ids' || name === 'token_type_ids') return { kind: 'flat', features: [] };
  throw new Unpackable(`input ${name} is not known`);
}

function consumersOf({ nodes }: Graph): Map<string, GraphNode[]> {
  const consumers = new Map<string, GraphNode[]>();
  for (const node of nodes)
    for (const name of node.inputs) consumers.set(name, [...(consumers.get(name) ?? []), node]);
  return consumers;
}

/** How many ids a table that an input looks up in has; of several the smallest counts. */
function countIds(
  { node, operands, inputs }: { node: GraphNode; operands: Step['operands']; inputs: readonly Port[] },
  counts: Map<string, number>,
): void {
  const [table] = operands;
  const [, index] = node.inputs;
  if (node.opType !== 'Gather' || !isTokenFree(table) || !inputs.some(({ name }) => name === index)) return;
  counts.set(index!, Math.min(table.shape[0] ?? 1, counts.get(index!) ?? Number.POSITIVE_INFINITY));
}

function checkHead(fact: Fact | undefined, name: string): void {
  if (fact === undefined) throw new Unpackable(`output ${name} is made by nothing`);
  if (fact.kind === 'plain' && fact.padded) throw new Unpackable(`output ${name} may hold padding`);
}

/** The operators that an output is made of. */
function leadingTo(output: string, { nodes }: Graph): Set<GraphNode> {
  const wanted = new Set([output]);
  const leading = new Set<GraphNode>();
  for (const node of nodes.toReversed()) {
    if (!node.outputs.some((name) => wanted.has(name))) continue;
    leading.add(node);
    for (const name of node.inputs) wanted.add(name);
  }
  return leading;
}

/** An operator that is given something flat. */
function rewrite(step: FlatStep): void {
  const { node, operands } = step;
  const [first] = operands;
  const isFlat = node.domain === '' && first?.kind === 'flat';
  if (isFlat && node.opType === 'Shape') writeShape(step, first);
  else if (isFlat && isFirstToken(step)) takeFirst(step, first);
  else if (isFlat && leavesRow(step)) inPaddedLayout(step);
  else if (isFlat && expandsToItself(step)) keepIdentity(step, first);
  else if (sumsForward(step) || looksUpInItsRow(step)) throughPaddedLayout(step);
  else keepTokenWise(step);
}

/** Exporters expand things to the shape that they have. */
function expandsToItself({ packing, node, operands }: FlatStep): boolean {
  if (node.opType !== 'Expand') return false;
  const shape = ['B', 'S', ...(operands[0] as Flat).features];
  const { known } = packing.facts.get(node.inputs[1]!) as Plain;
  return known?.items.length === shape.length && known.items.every((item, at) => item === shape[at]);
}

function keepIdentity({ packing, node }: FlatStep, flat: Flat): void {
  packing.nodes.push(makeNode('Identity', [[node.inputs[0]!], node.outputs]));
  packing.facts.set(node.outputs[0]!, flat);
}

/** An operator that sees one token at a time stays as it is. */
function keepTokenWise(step: FlatStep): void {
  const { packing, node, opset } = step;
  const inputs = isElementWise(node) ? flattenOperands(step) : node.inputs;
  const operands = inputs.map((name) => operandOf(packing, name));
  const result = tokenWise({ node, operands, opset });
  if ('refusal' in result) throw new Unpackable(`${told(node)}: ${result.refusal}`);
  packing.nodes.push(inputs === node.inputs ? node : withPorts(node, { inputs }));
  node.outputs.forEach((name, at) => {
    packing.facts.set(name, { kind: 'flat', features: result.features[at] ?? [] });
  });
}

/** What is not flat, but has rows or tokens, in the form that can be combined with what is. */
function flattenOperands({ packing, node, operands }: FlatStep): readonly string[] {
  const ranks = operands.map((fact) => (fact?.kind === 'flat' ? fact.features.length : 0));
  const featureCount = Math.max(...ranks);
  return node.inputs.map((name, at) => {
    const fact = operands[at];
    if (fact?.kind !== 'plain' || isTokenFree(fact)) return name;
    return packing.flattened(name, featureCount) ?? name;
  });
}
