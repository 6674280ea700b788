import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Graph, GraphNode, Port } from './graph.ts';

/**
 * The bytes of an ONNX file. What was not touched is as it was read; each byte of it is copied once.
 * @param extraWeights encoded TensorProtos that are added
 */
export function writeGraph(graph: Graph, extraWeights: readonly Uint8Array[] = []): Uint8Array<ArrayBuffer> {
  const small = new BinaryWriter();
  for (const node of graph.nodes)
    small.tag(1, WireType.LengthDelimited).bytes(node.bytes ?? encodeNode(node));
  for (const weights of extraWeights) small.tag(5, WireType.LengthDelimited).bytes(weights);
  for (const port of graph.inputs) small.tag(11, WireType.LengthDelimited).bytes(encodePort(port));
  for (const port of graph.outputs) small.tag(12, WireType.LengthDelimited).bytes(encodePort(port));
  for (const port of graph.inner) small.tag(13, WireType.LengthDelimited).bytes(encodePort(port));
  const inGraph = [small.finish(), ...graph.graphRest];
  const header = new BinaryWriter().tag(7, WireType.LengthDelimited).uint32(bytesOf(inGraph)).finish();
  return joined([...graph.fileRest, header, ...inGraph]);
}

const bytesOf = (parts: readonly Uint8Array[]) => parts.reduce((sum, part) => sum + part.length, 0);

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(bytesOf(parts));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function encodeNode(node: GraphNode): Uint8Array {
  const writer = new BinaryWriter();
  const text = (field: number, value: string) => writer.tag(field, WireType.LengthDelimited).string(value);
  for (const input of node.inputs) text(1, input);
  for (const output of node.outputs) text(2, output);
  text(3, node.name);
  text(4, node.opType);
  for (const { bytes } of node.attributes.values()) writer.tag(5, WireType.LengthDelimited).bytes(bytes);
  text(7, node.domain);
  return writer.finish();
}

/** A ValueInfoProto. */
function encodePort({ name, element, dims }: Port): Uint8Array {
  const writer = new BinaryWriter();
  const open = (field: number) => writer.tag(field, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).string(name);
  open(2);
  open(1);
  writer.tag(1, WireType.Varint).int32(element);
  if (dims !== undefined) {
    open(2);
    for (const dim of dims) {
      open(1);
      if (typeof dim === 'number') writer.tag(1, WireType.Varint).int64(dim);
      else if (dim !== undefined) writer.tag(2, WireType.LengthDelimited).string(dim);
      writer.join();
    }
    writer.join();
  }
  return writer.join().join().finish();
}
