import { isAbsolute, normalize } from 'node:path';
import { ServingError } from '../../errors.ts';
import type { DataType } from '../../types.ts';
import { type Field, type ProtobufWalk, type Range, TornMessage } from './protobuf-walk.ts';

/** ONNX's element types: name, bits per element, and whether a tensor of it can be sent. */
const ELEMENTS: Record<number, { name: string; bits: number; type?: DataType }> = {
  1: { name: 'FP32', bits: 32, type: 'FP32' },
  2: { name: 'UINT8', bits: 8, type: 'UINT8' },
  3: { name: 'INT8', bits: 8, type: 'INT8' },
  4: { name: 'UINT16', bits: 16, type: 'UINT16' },
  5: { name: 'INT16', bits: 16, type: 'INT16' },
  6: { name: 'INT32', bits: 32, type: 'INT32' },
  7: { name: 'INT64', bits: 64, type: 'INT64' },
  8: { name: 'BYTES', bits: 0, type: 'BYTES' },
  9: { name: 'BOOL', bits: 8, type: 'BOOL' },
  10: { name: 'FP16', bits: 16, type: 'FP16' },
  11: { name: 'FP64', bits: 64, type: 'FP64' },
  12: { name: 'UINT32', bits: 32, type: 'UINT32' },
  13: { name: 'UINT64', bits: 64, type: 'UINT64' },
  14: { name: 'COMPLEX64', bits: 64 },
  15: { name: 'COMPLEX128', bits: 128 },
  16: { name: 'BF16', bits: 16, type: 'BF16' },
  17: { name: 'FP8', bits: 8 },
  18: { name: 'FP8', bits: 8 },
  19: { name: 'FP8', bits: 8 },
  20: { name: 'FP8', bits: 8 },
  21: { name: 'UINT4', bits: 4 },
  22: { name: 'INT4', bits: 4 },
  23: { name: 'FP4', bits: 4 },
};

/** An element type by its number in ONNX; numbers that are not known count as bytes. */
export function elementOf(number: number): { name: string; bits: number; type?: DataType } {
  return ELEMENTS[number] ?? { name: `type ${number}`, bits: 8 };
}

/** A part of the weights that lies in a file of its own. */
export interface ExternalPart {
  /** Relative to the model file. */
  file: string;
  /** Bytes that the file must have for it. */
  endByte: number;
}

/** What a TensorProto says of the weights that it holds. */
export interface WeightFacts {
  name: string;
  /** Element type, in the words of DataType where that has it. */
  element: string;
  bytes: number;
  external: ExternalPart | undefined;
}

/**
 * Reads the facts of one TensorProto without its values.
 * @throws TornMessage when its values are shorter than its shape says
 * @throws ServingError MODEL_CONFIG_INVALID when its values lie outside of the version folder
 */
export async function readWeights(walk: ProtobufWalk, range: Range): Promise<WeightFacts> {
  const dims: number[] = [];
  const entries: Record<string, string> = {};
  let [name, type, rawBytes, textBytes, isExternal] = ['', 0, -1, 0, false];
  await walk.fields(range, async (field) => {
    if (field.number === 1) await collectDims(walk, field, dims);
    else if (field.number === 2) type = field.value;
    else if (field.number === 6) textBytes += field.end - field.start;
    else if (field.number === 8) name = await walk.text(field);
    else if (field.number === 9) rawBytes = field.end - field.start;
    else if (field.number === 13) await readEntry(walk, field, entries);
    else if (field.number === 14) isExternal = field.value === 1;
  });
  const element = elementOf(type);
  const elements = dims.reduce((product, dim) => product * dim, 1);
  const bytes = type === 8 ? textBytes : Math.ceil((elements * element.bits) / 8);
  if (rawBytes >= 0 && type in ELEMENTS && type !== 8 && rawBytes !== bytes)
    throw new TornMessage(`weights ${name} have ${rawBytes} bytes, but their shape needs ${bytes}`);
  const external = isExternal ? externalPart(name, entries, bytes) : undefined;
  return { name, element: element.name, bytes, external };
}

async function collectDims(walk: ProtobufWalk, field: Field, dims: number[]): Promise<void> {
  if (field.hasBytes) dims.push(...(await walk.packed(field)));
  else dims.push(field.value);
}

/** A StringStringEntryProto: key and value. */
async function readEntry(walk: ProtobufWalk, range: Range, entries: Record<string, string>): Promise<void> {
  let [key, value] = ['', ''];
  await walk.fields(range, async (field) => {
    const text = await walk.text(field);
    if (field.number === 1) key = text;
    else if (field.number === 2) value = text;
  });
  entries[key] = value;
}

function externalPart(name: string, entries: Record<string, string>, bytes: number): ExternalPart {
  const location = entries.location ?? '';
  const file = normalize(location);
  const steps = location.split(/[/\\]/);
  if (location === '' || isAbsolute(location) || /^[A-Za-z]:/.test(location) || steps.includes('..')) {
    throw new ServingError(
      'MODEL_CONFIG_INVALID',
      `weights ${name} lie in ${JSON.stringify(location)}, outside of the version folder; export the model with its data beside it`,
    );
  }
  const [offset, length] = [entries.offset ?? '0', entries.length ?? String(bytes)];
  const endByte = Number(offset) + Number(length);
  if (!/^\d+$/.test(offset) || !/^\d+$/.test(length) || !Number.isSafeInteger(endByte))
    throw new TornMessage(`the place of weights ${name} (offset ${offset}, length ${length}) is no number`);
  return { file, endByte };
}
