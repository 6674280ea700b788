import { addIntegers, fieldsOf, textOf } from './fields.ts';
import { ELEMENT, type Weights } from './graph.ts';

/** Shapes, axes and factors have fewer; what has more is never looked at. */
const MOST_VALUES = 64;

/** Reads a TensorProto; of its values only the few that may be a shape, an index or a factor. */
export function readWeights(tensor: Uint8Array): Weights {
  const dims: number[] = [];
  const given: number[] = [];
  let [name, element, isExternal] = ['', 0, false];
  let raw: Uint8Array | undefined;
  for (const field of fieldsOf(tensor)) {
    if (field.number === 1) addIntegers(field, dims);
    else if (field.number === 2) element = field.value;
    else if (field.number === 8) name = textOf(field);
    else if (field.number === 9) raw = field.content;
    else if (field.number === 14) isExternal = field.value === 1;
    else if (field.number === 4 && field.bytes.length <= MOST_VALUES * 6) given.push(...floatsOf(field));
    // int32_data and int64_data.
    else if ((field.number === 5 || field.number === 7) && field.bytes.length <= MOST_VALUES * 11)
      addIntegers(field, given);
  }
  const count = dims.reduce((product, dim) => product * dim, 1);
  const values = count <= MOST_VALUES && !isExternal ? valuesOf(element, raw, given) : undefined;
  return { name, element, dims, isExternal, values: values?.length === count ? values : undefined };
}

function floatsOf({ content, value }: { content: Uint8Array; value: number }): number[] {
  if (content.length === 0) return [value];
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  return Array.from({ length: content.length / 4 }, (_, at) => view.getFloat32(at * 4, true));
}

/** How one value is read from raw bytes, by element type. */
const READERS: Record<number, { bytes: number; read: (view: DataView, at: number) => number }> = {
  [ELEMENT.FP32]: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  [ELEMENT.FP64]: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
  [ELEMENT.UINT8]: { bytes: 1, read: (view, at) => view.getUint8(at) },
  [ELEMENT.INT8]: { bytes: 1, read: (view, at) => view.getInt8(at) },
  [ELEMENT.BOOL]: { bytes: 1, read: (view, at) => view.getUint8(at) },
  [ELEMENT.INT32]: { bytes: 4, read: (view, at) => view.getInt32(at, true) },
  [ELEMENT.INT64]: { bytes: 8, read: (view, at) => Number(view.getBigInt64(at, true)) },
};

function valuesOf(element: number, raw: Uint8Array | undefined, given: number[]): number[] | undefined {
  const reader = READERS[element];
  if (reader === undefined) return undefined;
  if (raw === undefined) return given;
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  return Array.from({ length: raw.length / reader.bytes }, (_, at) => reader.read(view, at * reader.bytes));
}
