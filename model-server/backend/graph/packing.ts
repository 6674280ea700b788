import type { Fact, Flat, Plain } from './facts.ts';
import { ELEMENT, type GraphNode } from './graph.ts';
import { encodeTensor, makeNode } from './make-node.ts';

/** Why a graph can't be rewritten; no fault of the model. */
export class Unpackable extends Error {}

/** The inputs that a rewritten graph has more than the file's; those that nothing needs are left out. */
export const PACKING_INPUTS = {
  /** [1, N]: the place of each token in its text. */
  positions: 'packing.position_ids',
  /** [R, L]: for each cell of the padded layout its token; any token for cells of padding. */
  pad: 'packing.pad_index',
  /** [1, N]: for each token its cell of the padded layout, counted row by row. */
  unpad: 'packing.unpad_index',
  /** [R]: the first token of each row. */
  first: 'packing.first_index',
} as const;
export type PackingInput = keyof typeof PACKING_INPUTS;

/** A graph while it is being rewritten: what has been written so far, and what is known of it. */
export class Packing {
  readonly facts = new Map<string, Fact>();
  readonly nodes: GraphNode[] = [];
  /** Encoded weights that the new operators need. */
  readonly weights: Uint8Array[] = [];
  readonly needed = new Set<PackingInput>();
  readonly #names = new Set<string>();

  /** Makes a name known. @returns false when it was known before */
  #isNew(name: string): boolean {
    const before = this.#names.size;
    return this.#names.add(name).size > before;
  }

  /** The name of a packing input, which the graph gets with this. */
  input(which: PackingInput): string {
    this.needed.add(which);
    return PACKING_INPUTS[which];
  }

  /** The name of a constant list of integers; without `dims` it is a scalar. */
  integers(values: readonly number[], dims: readonly number[] = [values.length]): string {
    const name = `packing.integers.${values.join('.')}.${dims.length}`;
    if (this.#isNew(name)) this.weights.push(encodeTensor({ element: ELEMENT.INT64, dims, values }, name));
    return name;
  }

  /** The padded layout [R, L, ...features] of something flat. */
  padded(name: string): string {
    const padded = `packing.${name}.padded`;
    const flat = this.facts.get(name) as Flat;
    if (!this.#isNew(padded)) return padded;
    this.#regather([name, padded], { features: flat.features.length, index: this.input('pad') });
    const fact: Plain = { kind: 'plain', shape: ['B', 'S', ...flat.features], padded: true, masked: false };
    this.facts.set(padded, fact);
    return padded;
  }

  /** Takes the cells of tokens out of the padded layout: [B, S, ...features] becomes flat under the other name. */
  unpad([padded, flat]: readonly [string, string]): void {
    const features = (this.facts.get(padded) as Plain).shape!.slice(2);
    this.#regather([padded, flat], { features: features.length, index: this.input('unpad') });
    this.facts.set(flat, { kind: 'flat', features });
  }

  /** The flat form of something plain that has rows or tokens; undefined when there is none. */
  flattened(name: string, featureCount: number): string | undefined {
    const { shape, padded, masked } = this.facts.get(name) as Plain;
    const firstAxis = shape && shape.length - featureCount - 2;
    if (shape === undefined || firstAxis === undefined || firstAxis > 0 || shape.length < featureCount + 1)
      return undefined;
    const [rows, tokens] = firstAxis === 0 ? shape : [1, shape[0]];
    const flat = `packing.${name}.flat`;
    if (tokens !== 'S' || !(rows === 1 || rows === 'B')) return undefined;
    // What holds padding is of use only where the mask has had its say.
    if (padded && !masked) return undefined;
    if (!this.#isNew(flat)) return flat;
    if (rows === 'B') this.unpad([name, flat]);
    else this.#byPosition([name, flat], { hasRows: firstAxis === 0 });
    return flat;
  }

  /** What is the same for all rows is looked up by each token's position. */
  #byPosition([name, flat]: readonly [string, string], { hasRows }: { hasRows: boolean }): void {
    const shape = (this.facts.get(name) as Plain).shape!;
    const table = hasRows ? `${flat}.table` : name;
    if (hasRows) this.nodes.push(makeNode('Gather', [[name, this.integers([0], [])], [table]], { axis: 0 }));
    this.nodes.push(makeNode('Gather', [[table, this.input('positions')], [flat]], { axis: 0 }));
    this.facts.set(flat, { kind: 'flat', features: shape.slice(hasRows ? 2 : 1) });
  }

  /** All cells in one list, and from that those that an index names. */
  #regather([from, to]: readonly [string, string], how: { features: number; index: string }): void {
    if (how.features > 1)
      throw new Unpackable(`${from} has more than one axis of features where it meets attention`);
    const cells = `${to}.cells`;
    this.nodes.push(
      how.features === 1
        ? makeNode('Flatten', [[from], [cells]], { axis: 2 })
        : makeNode('Reshape', [[from, this.integers([-1])], [cells]]),
      makeNode('Gather', [[cells, how.index], [to]], { axis: 0 }),
    );
  }
}
