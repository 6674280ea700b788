import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { type Attribute, ELEMENT, type GraphNode } from './graph.ts';

/** A small tensor of integers to be written into a file; without dims a scalar. */
export interface NewTensor {
  element: typeof ELEMENT.INT64 | typeof ELEMENT.UINT8;
  dims: readonly number[];
  values: readonly number[];
}

/** A new operator of the standard ones. Attributes are integers or a tensor. */
export function makeNode(
  opType: string,
  [inputs, outputs]: [inputs: readonly string[], outputs: readonly string[]],
  attributes: Readonly<Record<string, number | NewTensor>> = {},
): GraphNode {
  const made = Object.entries(attributes).map(([name, value]) => [name, makeAttribute(name, value)] as const);
  // Without a name, for those that the file has must stay unique.
  return { name: '', opType, domain: '', inputs, outputs, attributes: new Map(made) };
}

/** The same operator with other inputs or outputs. */
export function withPorts(
  node: GraphNode,
  ports: { inputs?: readonly string[]; outputs?: readonly string[] },
): GraphNode {
  return { ...node, ...ports, bytes: undefined };
}

/** A TensorProto. */
export function encodeTensor({ element, dims, values }: NewTensor, name = ''): Uint8Array {
  const writer = new BinaryWriter();
  for (const dim of dims) writer.tag(1, WireType.Varint).int64(dim);
  writer.tag(2, WireType.Varint).int32(element);
  writer.tag(8, WireType.LengthDelimited).string(name);
  const raw =
    element === ELEMENT.UINT8
      ? Uint8Array.from(values)
      : new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
  return writer.tag(9, WireType.LengthDelimited).bytes(raw).finish();
}

/** ONNX's numbers of attribute types. */
const INT = 2;
const TENSOR = 4;

function makeAttribute(name: string, value: number | NewTensor): Attribute {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).string(name);
  const isInt = typeof value === 'number';
  if (isInt) writer.tag(3, WireType.Varint).int64(value);
  else writer.tag(5, WireType.LengthDelimited).bytes(encodeTensor(value));
  writer.tag(20, WireType.Varint).int32(isInt ? INT : TENSOR);
  return { bytes: writer.finish(), hasGraph: false, ...(isInt ? { int: value } : {}) };
}
