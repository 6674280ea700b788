import { addIntegers, type Field, fieldsOf, textOf } from './fields.ts';
import type { Attribute, Graph, GraphNode, Port, Weights } from './graph.ts';
import { readWeights } from './weights.ts';

/**
 * Reads an ONNX file. Nothing is copied: all bytes of the result are views of the file.
 * @throws Error when it is no ONNX file of the standard operators
 */
export function readGraph(file: Uint8Array): Graph {
  const fileRest: Uint8Array[] = [];
  const graphs: Uint8Array[] = [];
  let opset = 0;
  for (const field of fieldsOf(file)) {
    if (field.number === 7) graphs.push(field.content);
    else fileRest.push(field.bytes);
    if (field.number === 8) opset = standardVersion(field) ?? opset;
  }
  if (graphs.length !== 1 || opset === 0) throw new Error('it is no ONNX file of the standard operators');
  return { opset, fileRest, ...readParts(graphs[0]!) };
}

/** The version of an OperatorSetIdProto for the standard operators; undefined for others. */
function standardVersion(field: Field): number | undefined {
  let [domain, version] = ['', 0];
  for (const part of fieldsOf(field.content)) {
    if (part.number === 1) domain = textOf(part);
    else if (part.number === 2) version = part.value;
  }
  return domain === '' || domain === 'ai.onnx' ? version : undefined;
}

function readParts(graph: Uint8Array): Omit<Graph, 'opset' | 'fileRest'> {
  const nodes: GraphNode[] = [];
  const inputs: { port: Port; bytes: Uint8Array }[] = [];
  const outputs: Port[] = [];
  const inner: Port[] = [];
  const weights = new Map<string, Weights>();
  const graphRest: Uint8Array[] = [];
  let hasForeignWeights = false;
  for (const field of fieldsOf(graph)) {
    if (field.number === 1) nodes.push(readNode(field.content));
    else if (field.number === 11) inputs.push({ port: readPort(field.content), bytes: field.bytes });
    else if (field.number === 12) outputs.push(readPort(field.content));
    else if (field.number === 13) inner.push(readPort(field.content));
    else graphRest.push(field.bytes);
    if (field.number === 5) {
      const tensor = readWeights(field.content);
      weights.set(tensor.name, tensor);
      hasForeignWeights ||= tensor.isExternal;
    } else if (field.number === 15) hasForeignWeights = true;
  }
  // An input with a value of its own in the file need not be fed.
  const fed = inputs.filter(({ port }) => !weights.has(port.name));
  const defaults = inputs.filter(({ port }) => weights.has(port.name)).map(({ bytes }) => bytes);
  return {
    nodes,
    weights,
    inputs: fed.map(({ port }) => port),
    outputs,
    inner,
    hasForeignWeights,
    graphRest: [...graphRest, ...defaults],
  };
}

function readNode(bytes: Uint8Array): GraphNode {
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attributes = new Map<string, Attribute>();
  let [name, opType, domain] = ['', '', ''];
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) inputs.push(textOf(field));
    else if (field.number === 2) outputs.push(textOf(field));
    else if (field.number === 3) name = textOf(field);
    else if (field.number === 4) opType = textOf(field);
    else if (field.number === 5) readAttribute(field.content, attributes);
    else if (field.number === 7) domain = textOf(field);
  }
  if (domain === 'ai.onnx') domain = '';
  return { name, opType, domain, inputs, outputs, attributes, bytes };
}

function readAttribute(bytes: Uint8Array, attributes: Map<string, Attribute>): void {
  const attribute: Attribute = { bytes, hasGraph: false };
  const ints: number[] = [];
  let name = '';
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) name = textOf(field);
    else if (field.number === 2) attribute.float = field.value;
    else if (field.number === 3) attribute.int = field.value;
    else if (field.number === 5) attribute.tensor = readWeights(field.content);
    else if (field.number === 8) addIntegers(field, ints);
    else if (field.number === 6 || field.number === 11) attribute.hasGraph = true;
  }
  if (ints.length > 0) attribute.ints = ints;
  attributes.set(name, attribute);
}

/** A ValueInfoProto. */
function readPort(bytes: Uint8Array): Port {
  const port: Port = { name: '', element: 0, dims: undefined };
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) port.name = textOf(field);
    if (field.number !== 2) continue;
    for (const choice of fieldsOf(field.content)) if (choice.number === 1) readTensorType(choice, port);
  }
  return port;
}

function readTensorType(type: Field, port: Port): void {
  for (const field of fieldsOf(type.content)) {
    if (field.number === 1) port.element = field.value;
    if (field.number === 2)
      port.dims = [...fieldsOf(field.content)].filter((dim) => dim.number === 1).map(readDim);
  }
}

function readDim(dim: Field): number | string | undefined {
  let length: number | string | undefined;
  for (const field of fieldsOf(dim.content)) {
    if (field.number === 1) length = field.value;
    else if (field.number === 2) length = textOf(field);
  }
  return length;
}
