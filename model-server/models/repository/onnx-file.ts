import { open } from 'node:fs/promises';
import { ServingError } from '../../errors.ts';
import type { TensorSpec } from '../../types.ts';
import { type ExternalPart, elementOf, readWeights } from './onnx-tensor.ts';
import { ProtobufWalk, type Range, TornMessage } from './protobuf-walk.ts';

/** An input or output of the graph. */
export interface OnnxTensor extends TensorSpec {
  /** False when the file does not say how many dimensions it has; `shape` is then empty. */
  ranked: boolean;
}

/** What the header of a whole ONNX file says, its weights left unread. */
export interface OnnxFile {
  complete: true;
  irVersion: number;
  /** Of the default domain. */
  opset: number;
  /** Those that a request must send: inputs with a value of their own in the file are left out. */
  inputs: OnnxTensor[];
  /** Those that can be sent; outputs that are no tensors are left out. */
  outputs: OnnxTensor[];
  /** Bytes of all weights, those in other files included. */
  weightBytes: number;
  /** The same by element type: `FP32`, `INT8`, ... */
  weightBytesByType: Readonly<Record<string, number>>;
  /** Bytes of the model file and of the parts of other files that it names. */
  fileBytes: number;
  /** Files with weights beside the model file, and the bytes that each must have. */
  externalFiles: { file: string; bytes: number }[];
}

/** A file that is not whole (yet), and why. */
export interface TornOnnxFile {
  complete: false;
  why: string;
}

interface Facts {
  irVersion: number;
  opset: number | undefined;
  hasGraph: boolean;
  inputs: OnnxTensor[];
  outputs: OnnxTensor[];
  /** Names of weights: an input of the same name has a value already. */
  initialized: Set<string>;
  weightBytesByType: Record<string, number>;
  external: Map<string, number>;
  level: number;
}

/** Graphs in graphs (the branches of If, the bodies of Loop). */
const MOST_LEVELS = 32;

/**
 * Reads the header of an ONNX file: every field's bounds are looked at, so that a torn file shows, but no weights are read.
 * @throws ServingError MODEL_CONFIG_INVALID when its weights lie outside of the version folder, or an input is no tensor
 * @throws Error of the file system when there is no such file
 */
export async function readOnnxFile(path: string): Promise<OnnxFile | TornOnnxFile> {
  const handle = await open(path, 'r');
  try {
    const walk = new ProtobufWalk(handle, (await handle.stat()).size);
    return await readModel(walk);
  } catch (error) {
    if (error instanceof TornMessage)
      return { complete: false, why: `not a whole ONNX file: ${error.message}` };
    throw error;
  } finally {
    await handle.close();
  }
}

async function readModel(walk: ProtobufWalk): Promise<OnnxFile> {
  const facts: Facts = {
    irVersion: 0,
    opset: undefined,
    hasGraph: false,
    inputs: [],
    outputs: [],
    initialized: new Set(),
    weightBytesByType: {},
    external: new Map(),
    level: 0,
  };
  await walk.fields({ start: 0, end: walk.size }, (field) => {
    if (field.number === 1) facts.irVersion = field.value;
    else if (field.number === 7) {
      facts.hasGraph = true;
      return readGraph(walk, field, facts);
    } else if (field.number === 8) return readOpset(walk, field, facts);
    else if (field.number === 25) return readNodes(walk, field, { facts, nodeField: 7 });
    return undefined;
  });
  if (!facts.hasGraph || facts.opset === undefined) {
    const missing = facts.hasGraph ? 'opset_import' : 'graph';
    throw new TornMessage(`it has ${walk.size} bytes and no ${missing}`);
  }
  return {
    complete: true,
    irVersion: facts.irVersion,
    opset: facts.opset,
    inputs: facts.inputs.filter((input) => !facts.initialized.has(input.name)),
    outputs: facts.outputs,
    weightBytes: sum(Object.values(facts.weightBytesByType)),
    weightBytesByType: facts.weightBytesByType,
    fileBytes: walk.size + sum(facts.external.values()),
    externalFiles: [...facts.external].map(([file, bytes]) => ({ file, bytes })),
  };
}

const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0);

async function readOpset(walk: ProtobufWalk, range: Range, facts: Facts): Promise<void> {
  let [domain, version] = ['', 0];
  await walk.fields(range, async (field) => {
    if (field.number === 1) domain = await walk.text(field);
    else if (field.number === 2) version = field.value;
  });
  if (domain === '' || domain === 'ai.onnx') facts.opset = version;
  // A model of other domains alone is whole too.
  else facts.opset ??= 0;
}

async function readGraph(walk: ProtobufWalk, range: Range, facts: Facts): Promise<void> {
  if (facts.level > MOST_LEVELS) throw new TornMessage(`graphs lie deeper than ${MOST_LEVELS} levels`);
  const isMain = facts.level === 0;
  await walk.fields(range, (field) => {
    if (field.number === 1) return readAttributes(walk, field, facts);
    if (field.number === 5) return addWeights(walk, field, { facts, isMain });
    if (field.number === 15) return readSparse(walk, field, facts);
    if (isMain && field.number === 11) return addPort(walk, field, { ports: facts.inputs, kind: 'input' });
    if (isMain && field.number === 12) return addPort(walk, field, { ports: facts.outputs, kind: 'output' });
    return undefined;
  });
}

/** The nodes of a function, which has no weights but those in its nodes' attributes. */
function readNodes(walk: ProtobufWalk, range: Range, at: { facts: Facts; nodeField: number }): Promise<void> {
  return walk.fields(range, (field) =>
    field.number === at.nodeField ? readAttributes(walk, field, at.facts) : undefined,
  );
}

/** Constants and inner graphs in the attributes of a node. */
function readAttributes(walk: ProtobufWalk, node: Range, facts: Facts): Promise<void> {
  return walk.fields(node, (attribute) => {
    if (attribute.number !== 5) return undefined;
    return walk.fields(attribute, (field) => {
      if (field.number === 5 || field.number === 10) return addWeights(walk, field, { facts, isMain: false });
      if (field.number !== 6 && field.number !== 11) return undefined;
      return readGraph(walk, field, nested(facts));
    });
  });
}

/** The same collections, one level deeper. */
const nested = (facts: Facts): Facts => ({ ...facts, level: facts.level + 1 });

async function addWeights(
  walk: ProtobufWalk,
  range: Range,
  { facts, isMain }: { facts: Facts; isMain: boolean },
): Promise<void> {
  const { name, element, bytes, external } = await readWeights(walk, range);
  if (isMain) facts.initialized.add(name);
  facts.weightBytesByType[element] = (facts.weightBytesByType[element] ?? 0) + bytes;
  if (external !== undefined) addExternal(facts, external);
}

function addExternal(facts: Facts, { file, endByte }: ExternalPart): void {
  facts.external.set(file, Math.max(endByte, facts.external.get(file) ?? 0));
}

/** A SparseTensorProto: its values and their indices are tensors. */
function readSparse(walk: ProtobufWalk, range: Range, facts: Facts): Promise<void> {
  return walk.fields(range, (field) =>
    field.number === 1 || field.number === 2
      ? addWeights(walk, field, { facts, isMain: field.number === 1 })
      : undefined,
  );
}

async function addPort(
  walk: ProtobufWalk,
  range: Range,
  { ports, kind }: { ports: OnnxTensor[]; kind: 'input' | 'output' },
): Promise<void> {
  let name = '';
  let type: { element: number; shape: number[] | undefined } | undefined;
  await walk.fields(range, async (field) => {
    if (field.number === 1) name = await walk.text(field);
    if (field.number !== 2) return;
    await walk.fields(field, async (choice) => {
      if (choice.number === 1) type = await readTensorType(walk, choice);
    });
  });
  const dataType = type === undefined ? undefined : elementOf(type.element).type;
  if (type !== undefined && dataType !== undefined) {
    ports.push({ name, dataType, shape: type.shape ?? [], ranked: type.shape !== undefined });
  } else if (kind === 'input') {
    const what = type === undefined ? 'no tensor' : `a tensor of ${elementOf(type.element).name}`;
    throw new ServingError('MODEL_CONFIG_INVALID', `its input ${name} is ${what}, which can't be sent`);
  }
}

async function readTensorType(
  walk: ProtobufWalk,
  range: Range,
): Promise<{ element: number; shape: number[] | undefined }> {
  let element = 0;
  let shape: number[] | undefined;
  await walk.fields(range, (field) => {
    if (field.number === 1) element = field.value;
    if (field.number !== 2) return undefined;
    const dims: number[] = [];
    shape = dims;
    return walk.fields(field, (dimension) => {
      if (dimension.number !== 1) return undefined;
      const at = dims.push(-1) - 1;
      return walk.fields(dimension, (length) => {
        if (length.number === 1) dims[at] = length.value > 0 ? length.value : -1;
        return undefined;
      });
    });
  });
  return { element, shape };
}
