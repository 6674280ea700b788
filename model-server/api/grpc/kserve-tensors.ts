import type {
  InferTensorContents,
  ModelInferRequest_InferInputTensor as InputTensor,
  ModelInferRequest,
} from '../../../proto/gen/inference_pb.js';
import { ServingError } from '../../errors.ts';
import { elementBytes, joinElements } from '../../tensor-bytes.ts';
import type { DataType, RawTensor } from '../../types.ts';

/** Dimensions of a tensor at most. */
const MAX_RANK = 32;

/** The field of `contents` that holds the values of each type. */
const FIELDS: Readonly<Partial<Record<DataType, Exclude<keyof InferTensorContents, `$${string}`>>>> = {
  BOOL: 'boolContents',
  INT8: 'intContents',
  INT16: 'intContents',
  INT32: 'intContents',
  INT64: 'int64Contents',
  UINT8: 'uintContents',
  UINT16: 'uintContents',
  UINT32: 'uintContents',
  UINT64: 'uint64Contents',
  FP32: 'fp32Contents',
  FP64: 'fp64Contents',
  BYTES: 'bytesContents',
};

/**
 * The inputs of a request as raw tensors, whichever way they came. Data and shape of each are known to fit.
 * @throws ServingError INVALID_INPUT, SHAPE_MISMATCH
 */
export function inputTensors({ inputs, rawInputContents: raw }: ModelInferRequest): RawTensor[] {
  if (raw.length > 0 && raw.length !== inputs.length)
    throw new ServingError(
      'INVALID_INPUT',
      `raw_input_contents has ${raw.length} entries for ${inputs.length} inputs; there must be one for each, or none.`,
    );
  return inputs.map((input, index) => inputTensor(input, raw[index]));
}

function inputTensor(input: InputTensor, raw: Uint8Array | undefined): RawTensor {
  const { name, contents } = input;
  const dataType = dataTypeOf(input);
  const shape = shapeOf(input);
  const elements = shape.reduce((product, length) => product * length, 1);
  // A length of 0 makes the product of any lengths 0.
  if (![elements, ...shape].every(Number.isSafeInteger))
    throw invalid(name, `has a shape of too many elements: [${shape}]`);
  if (raw !== undefined && contents !== undefined)
    throw invalid(name, 'has contents although the request has raw_input_contents; send one of the two');
  const data = raw ?? encoded({ name, dataType, elements }, contents);
  refuseWrongSize({ name, dataType, shape, data }, elements);
  return { name, dataType, shape, data };
}

function dataTypeOf({ name, datatype }: InputTensor): DataType {
  if (datatype === 'BYTES' || Object.hasOwn(elementBytes, datatype)) return datatype as DataType;
  const known = [...Object.keys(elementBytes), 'BYTES'].join(', ');
  throw invalid(name, `has the datatype ${JSON.stringify(datatype.slice(0, 50))}; there are ${known}`);
}

function shapeOf({ name, shape }: InputTensor): number[] {
  if (shape.length > MAX_RANK)
    throw invalid(name, `has ${shape.length} dimensions, the limit is ${MAX_RANK}`);
  const lengths = shape.map(Number);
  if (lengths.some((length) => length < 0))
    throw invalid(name, `has the shape [${lengths}]; in a request every length must be known`);
  return lengths;
}

interface Wanted {
  name: string;
  dataType: DataType;
  elements: number;
}

/** Typed values as raw bytes. */
function encoded(
  { name, dataType, elements }: Wanted,
  contents: InferTensorContents | undefined,
): Uint8Array {
  const field = FIELDS[dataType];
  if (field === undefined)
    throw invalid(name, `is of type ${dataType}, which raw_input_contents alone can carry`);
  const values = contents?.[field] ?? [];
  if (values.length !== elements) {
    const wire = field.replace('Contents', '_contents');
    throw mismatch(name, `has ${values.length} values in ${wire}, its shape needs ${elements}`);
  }
  if (field === 'bytesContents') return joinElements(values as Uint8Array[]);
  return bytesOf(name, dataType, values as number[]);
}

/** Constructors of arrays that hold little-endian values, as every platform of ONNX Runtime's Node binding does. */
const ARRAYS = {
  BOOL: Uint8Array,
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  UINT64: BigUint64Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  FP32: Float32Array,
  FP64: Float64Array,
} as const;

function bytesOf(
  name: string,
  dataType: DataType,
  values: readonly (number | bigint | boolean)[],
): Uint8Array {
  const TypedArray = ARRAYS[dataType as keyof typeof ARRAYS] as new (of: Iterable<unknown>) => Uint8Array;
  const array = new TypedArray(dataType === 'BOOL' ? values.map(Number) : values);
  // Narrow integers share a field with wide ones: a value that does not fit must not turn into another.
  const narrow = array.BYTES_PER_ELEMENT < 4 && dataType !== 'BOOL';
  const wrong = narrow ? values.findIndex((value, index) => array[index] !== value) : -1;
  if (wrong !== -1) throw invalid(name, `has the value ${values[wrong]}, which is no ${dataType}`);
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function refuseWrongSize({ name, dataType, shape, data }: RawTensor, elements: number): void {
  if (dataType === 'BYTES') {
    const found = countOf(name, data);
    if (found !== elements)
      throw mismatch(name, `has ${found} elements, its shape [${shape}] needs ${elements}`);
    return;
  }
  const bytes = elements * elementBytes[dataType];
  if (data.byteLength !== bytes)
    throw mismatch(name, `has ${data.byteLength} bytes, its shape [${shape}] of ${dataType} needs ${bytes}`);
}

/** How many elements raw BYTES hold. */
function countOf(name: string, data: Uint8Array): number {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let count = 0;
  let offset = 0;
  while (offset < data.byteLength) {
    if (offset + 4 > data.byteLength) throw mismatch(name, `ends inside the length of its element ${count}`);
    offset += 4 + view.getUint32(offset, true);
    if (offset > data.byteLength) throw mismatch(name, `ends inside its element ${count}`);
    count++;
  }
  return count;
}

function invalid(name: string, what: string): ServingError {
  return new ServingError('INVALID_INPUT', `input '${name.slice(0, 100)}' ${what}.`);
}

function mismatch(name: string, what: string): ServingError {
  return new ServingError('SHAPE_MISMATCH', `input '${name.slice(0, 100)}' ${what}.`);
}
