import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

/** ONNX's numbers of element types. */
export const ELEMENT = { FP32: 1, INT32: 6, INT64: 7, BYTES: 8, FP16: 10 } as const;
export type Element = keyof typeof ELEMENT;
/** A number is a fixed length, a name any length. */
export type Dimension = number | string;
type Bytes = Uint8Array;
type Attribute = number | number[] | string;

export interface Weights {
  name: string;
  element: Element;
  dims: number[];
  data: Bytes;
  /** Leaves the values out of the model file: they lie in this file beside it, from `offset` on. */
  external?: { file: string; offset?: number } | undefined;
}

export interface Node {
  type: string;
  inputs: string[];
  outputs: string[];
  attributes?: Record<string, Attribute>;
}

export interface Port {
  name: string;
  element: Element;
  dims: Dimension[];
}

export interface Graph {
  nodes: Node[];
  weights: Weights[];
  inputs: Port[];
  outputs: Port[];
  /** 17 unless told. */
  opset?: number | undefined;
}

const field = (writer: BinaryWriter, number: number) => writer.tag(number, WireType.LengthDelimited);
const text = (writer: BinaryWriter, number: number, value: string) => field(writer, number).string(value);
const number = (writer: BinaryWriter, at: number, value: number) =>
  writer.tag(at, WireType.Varint).int64(value);
function message(writer: BinaryWriter, at: number, fill: () => void): void {
  field(writer, at).fork();
  fill();
  writer.join();
}

/** The bytes of an ONNX model. */
export function onnxModel(graph: Graph): Bytes {
  const writer = new BinaryWriter();
  number(writer, 1, 8);
  text(writer, 2, 'test');
  message(writer, 7, () => {
    for (const node of graph.nodes) message(writer, 1, () => writeNode(writer, node));
    text(writer, 2, 'graph');
    for (const weights of graph.weights) message(writer, 5, () => writeWeights(writer, weights));
    for (const port of graph.inputs) message(writer, 11, () => writePort(writer, port));
    for (const port of graph.outputs) message(writer, 12, () => writePort(writer, port));
  });
  message(writer, 8, () => {
    text(writer, 1, '');
    number(writer, 2, graph.opset ?? 17);
  });
  return writer.finish();
}

function writeNode(writer: BinaryWriter, node: Node): void {
  for (const input of node.inputs) text(writer, 1, input);
  for (const output of node.outputs) text(writer, 2, output);
  text(writer, 3, node.outputs.join('+'));
  text(writer, 4, node.type);
  for (const [name, value] of Object.entries(node.attributes ?? {})) {
    message(writer, 5, () => {
      text(writer, 1, name);
      if (typeof value === 'number') number(writer, 3, value);
      else if (typeof value === 'string') text(writer, 4, value);
      else for (const item of value) number(writer, 8, item);
      number(writer, 20, typeof value === 'number' ? 2 : typeof value === 'string' ? 3 : 7);
    });
  }
}

function writeWeights(writer: BinaryWriter, { name, element, dims, data, external }: Weights): void {
  for (const dim of dims) number(writer, 1, dim);
  number(writer, 2, ELEMENT[element]);
  text(writer, 8, name);
  if (external === undefined) {
    field(writer, 9).bytes(data);
    return;
  }
  const entries = { location: external.file, offset: external.offset ?? 0, length: data.byteLength };
  for (const [key, value] of Object.entries(entries)) {
    message(writer, 13, () => {
      text(writer, 1, key);
      text(writer, 2, String(value));
    });
  }
  number(writer, 14, 1);
}

function writePort(writer: BinaryWriter, port: Port): void {
  text(writer, 1, port.name);
  message(writer, 2, () =>
    message(writer, 1, () => {
      number(writer, 1, ELEMENT[port.element]);
      message(writer, 2, () => {
        for (const dim of port.dims) {
          message(writer, 1, () => {
            if (typeof dim === 'number') number(writer, 1, dim);
            else text(writer, 2, dim);
          });
        }
      });
    }),
  );
}
