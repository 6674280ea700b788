import type { DataType } from './types.ts';

/** Bytes of one element, by type; BYTES elements have no size of their own. */
export const elementBytes: Readonly<Record<Exclude<DataType, 'BYTES'>, number>> = {
  BOOL: 1,
  UINT8: 1,
  UINT16: 2,
  UINT32: 4,
  UINT64: 8,
  INT8: 1,
  INT16: 2,
  INT32: 4,
  INT64: 8,
  FP16: 2,
  BF16: 2,
  FP32: 4,
  FP64: 8,
};

/** @returns where element `count` begins in BYTES data, or undefined when there are fewer whole elements */
export function offsetOfElement(data: Uint8Array, count: number, from = 0): number | undefined {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let at = from;
  for (let i = 0; i < count; i++) {
    if (at + 4 > data.byteLength) return undefined;
    at += 4 + view.getUint32(at, true);
  }
  return at <= data.byteLength ? at : undefined;
}

/** The elements of BYTES data that is known to be whole, as views of it. */
export function elementsOf(data: Uint8Array): Uint8Array[] {
  const elements: Uint8Array[] = [];
  for (let at = 0; at < data.byteLength; ) {
    const end = offsetOfElement(data, 1, at)!;
    elements.push(data.subarray(at + 4, end));
    at = end;
  }
  return elements;
}

/** Elements as BYTES data: of each 4 bytes of length, little-endian, then the bytes. */
export function joinElements(elements: readonly Uint8Array[]): Uint8Array {
  const data = new Uint8Array(elements.reduce((sum, element) => sum + 4 + element.byteLength, 0));
  const view = new DataView(data.buffer);
  let at = 0;
  for (const element of elements) {
    view.setUint32(at, element.byteLength, true);
    data.set(element, at + 4);
    at += 4 + element.byteLength;
  }
  return data;
}
