import { Tensor } from 'onnxruntime-node';
import { joinElements } from '../tensor-bytes.ts';
import type { DataType, RawTensor } from '../types.ts';

interface Numeric {
  type: Exclude<Tensor.Type, 'string' | 'uint4' | 'int4'>;
  array: new (
    buffer: ArrayBufferLike,
    byteOffset: number,
    length: number,
  ) => Tensor['data'] & { byteLength: number };
  bytes: number;
}

const numeric: Readonly<Partial<Record<DataType, Numeric>>> = {
  BOOL: { type: 'bool', array: Uint8Array, bytes: 1 },
  UINT8: { type: 'uint8', array: Uint8Array, bytes: 1 },
  INT8: { type: 'int8', array: Int8Array, bytes: 1 },
  UINT16: { type: 'uint16', array: Uint16Array, bytes: 2 },
  INT16: { type: 'int16', array: Int16Array, bytes: 2 },
  FP16: { type: 'float16', array: Uint16Array, bytes: 2 },
  UINT32: { type: 'uint32', array: Uint32Array, bytes: 4 },
  INT32: { type: 'int32', array: Int32Array, bytes: 4 },
  FP32: { type: 'float32', array: Float32Array, bytes: 4 },
  UINT64: { type: 'uint64', array: BigUint64Array, bytes: 8 },
  INT64: { type: 'int64', array: BigInt64Array, bytes: 8 },
  FP64: { type: 'float64', array: Float64Array, bytes: 8 },
};

const dataTypes: ReadonlyMap<string, DataType> = new Map<string, DataType>([
  ...Object.entries(numeric).map(([dataType, { type }]) => [type, dataType as DataType] as const),
  ['string', 'BYTES'],
]);

/** The wire name of a type of the runtime; undefined for those that have none (4-bit integers). */
export function dataTypeOf(type: string): DataType | undefined {
  return dataTypes.get(type);
}

// Not `ignoreBOM: false`, which would drop a byte order mark from the value.
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const utf8 = new TextEncoder();

/**
 * A tensor as the runtime takes it: a view of the same bytes where they are aligned, else a copy.
 * @throws Error for BF16, for BYTES elements that are no UTF-8, and when the bytes do not fit the shape
 */
export function toRuntime(tensor: RawTensor): Tensor {
  const { name, dataType, shape, data } = tensor;
  if (dataType === 'BYTES') return new Tensor('string', readStrings(tensor), shape);
  const kind = numeric[dataType];
  if (kind === undefined)
    throw new Error(`input ${name} is ${dataType}, which onnxruntime-node does not carry`);
  const length = shape.reduce((product, dimension) => product * dimension, 1);
  if (data.byteLength !== length * kind.bytes) {
    throw new Error(
      `input ${name} has ${data.byteLength} bytes; ${dataType} of shape [${shape.join(', ')}] has ${length * kind.bytes}`,
    );
  }
  const aligned = data.byteOffset % kind.bytes === 0 ? data : data.slice();
  const values = new kind.array(aligned.buffer, aligned.byteOffset, length);
  if (dataType === 'FP16') return halfTensor(values as Uint16Array, shape);
  return new Tensor(kind.type as 'float32', values as Float32Array, shape);
}

/**
 * Where the engine has Float16Array the constructor makes one of the values, and onnxruntime-node's native part (up to
 * 1.30) then sees a tensor of no bytes. It reads 16-bit integers as the halves that they are.
 */
function halfTensor(values: Uint16Array, shape: readonly number[]): Tensor {
  return Object.assign(new Tensor('uint16', values, shape), { type: 'float16' as const });
}

/** @throws Error when the runtime gave a type that has no wire name */
export function fromRuntime(name: string, tensor: Tensor): RawTensor {
  const dataType = dataTypeOf(tensor.type);
  if (dataType === undefined) throw new Error(`output ${name} is ${tensor.type}, which has no wire type`);
  const shape = [...tensor.dims];
  if (tensor.type === 'string') {
    return {
      name,
      dataType,
      shape,
      data: joinElements((tensor.data as string[]).map((text) => utf8.encode(text))),
    };
  }
  const { buffer, byteOffset, byteLength } = tensor.data as Float32Array;
  return { name, dataType, shape, data: new Uint8Array(buffer, byteOffset, byteLength) };
}

function readStrings({ name, data }: RawTensor): string[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const strings: string[] = [];
  for (let at = 0; at < data.byteLength; ) {
    const end = at + 4 + view.getUint32(at, true);
    if (end > data.byteLength) throw new Error(`input ${name}: element ${strings.length} is cut off`);
    try {
      strings.push(strictUtf8.decode(data.subarray(at + 4, end)));
    } catch {
      throw new Error(
        `input ${name}: element ${strings.length} is not UTF-8; onnxruntime-node carries strings only`,
      );
    }
    at = end;
  }
  return strings;
}
