import type { RawTensor } from '../../model-server/types.ts';

/** Little-endian float32 values. */
export const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);

export const fp32 = (name: string, shape: number[], values: number[]): RawTensor => ({
  name,
  dataType: 'FP32',
  shape,
  data: floats(...values),
});

export const int64 = (name: string, shape: number[], values: number[]): RawTensor => ({
  name,
  dataType: 'INT64',
  shape,
  data: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
});

/** Strings, each with 4 bytes of length before it. */
export function blobs(name: string, shape: number[], strings: readonly (string | Uint8Array)[]): RawTensor {
  const parts = strings.map((text) => (typeof text === 'string' ? Buffer.from(text) : text));
  const prefixed = parts.flatMap((part) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(part.length);
    return [length, part];
  });
  return { name, dataType: 'BYTES', shape, data: Uint8Array.from(Buffer.concat(prefixed)) };
}

/** The values of an FP32 tensor. */
export const values = ({ data }: RawTensor) => Array.from(new Float32Array(data.slice().buffer));
