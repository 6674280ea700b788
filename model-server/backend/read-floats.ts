import type { Tensor } from 'onnxruntime-node';

/** The values of a tensor of floats; halves are widened. @throws Error for other types */
export function readFloats(name: string, tensor: Tensor): Float32Array {
  if (tensor.type === 'float32') return tensor.data as Float32Array;
  if (tensor.type !== 'float16')
    throw new Error(`output ${name} is ${tensor.type}; only float32 and float16 are read`);
  const { buffer, byteOffset, byteLength } = tensor.data as Uint16Array;
  return Float32Array.from(new Uint16Array(buffer, byteOffset, byteLength / 2), widen);
}

/** The value of a half by its bits: sign, 5 bits of exponent, 10 of fraction. */
function widen(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
