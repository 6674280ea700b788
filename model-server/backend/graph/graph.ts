/** ONNX's numbers of the element types that rewriting has to tell apart. */
export const ELEMENT = { FP32: 1, UINT8: 2, INT8: 3, INT32: 6, INT64: 7, BOOL: 9, FP64: 11 } as const;

/** A tensor that a file holds. */
export interface Weights {
  name: string;
  /** One of ONNX's numbers of element types. */
  element: number;
  dims: readonly number[];
  /** In row-major order; absent unless there are so few that they may be a shape, an index or a factor. */
  values: readonly number[] | undefined;
  /** Whether they lie in another file. */
  isExternal: boolean;
}

/** An attribute of an operator; the one of its fields is set that its type has. */
export interface Attribute {
  /** The whole of it, encoded. */
  bytes: Uint8Array;
  int?: number;
  ints?: readonly number[];
  float?: number;
  tensor?: Weights;
  /** Whether it holds graphs of its own, as the branches of If. */
  hasGraph: boolean;
}

/** An operator. An empty name stands for an input or output that is left out. */
export interface GraphNode {
  name: string;
  opType: string;
  /** Empty for the standard operators. */
  domain: string;
  inputs: readonly string[];
  outputs: readonly string[];
  attributes: ReadonlyMap<string, Attribute>;
  /** How the file has it; absent for one that is new or changed. */
  bytes?: Uint8Array | undefined;
}

/** An input or output of the whole graph. */
export interface Port {
  name: string;
  element: number;
  /** Undefined for a dimension of any length; the whole is undefined when the rank is not told. */
  dims: readonly (number | string | undefined)[] | undefined;
}

/** The part of an ONNX file that rewriting looks at, and the rest as it is. */
export interface Graph {
  /** Version of the standard operators. */
  opset: number;
  /** In an order in which they can run. */
  nodes: readonly GraphNode[];
  weights: ReadonlyMap<string, Weights>;
  /** Those that a caller feeds. */
  inputs: readonly Port[];
  outputs: readonly Port[];
  /** Tensors between, of which the file tells the shape. */
  inner: readonly Port[];
  /** Whether sparse weights or weights in other files are among what it holds. */
  hasForeignWeights: boolean;
  /** Encoded fields of the graph that are kept: the weights, above all. */
  graphRest: readonly Uint8Array[];
  /** Encoded fields of the file outside of the graph. */
  fileRest: readonly Uint8Array[];
}
