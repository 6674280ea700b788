import { readFileSync, realpathSync, statSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { ServingError } from '../../errors.ts';
import { elementBytes } from '../../tensor-bytes.ts';
import type { DataType, RawTensor } from '../../types.ts';
import type { WarmupInput, WarmupSample } from '../repository/warmup-samples.ts';

export interface SampleOptions {
  modelFolder: string;
  hasBatchDimension: boolean;
}

const MOST_BYTES = 256 * 1024 * 1024;

/**
 * The tensors of a warm-up sample. A file holds the data of one row, which every row of the batch gets, as in Triton;
 * BYTES elements are 4 bytes of length, then the bytes. Random integers are 0 or 1, which are valid token ids, masks
 * and type ids of any model; random floats are in [0, 1); random strings are empty. The same sample gives the same data.
 *
 * @throws ServingError MODEL_CONFIG_INVALID naming the input when a dimension is not fixed, the tensor is above 256 MiB,
 * or the file is missing, outside of warmup/ or of another size
 */
export function sampleTensors(sample: WarmupSample, options: SampleOptions): RawTensor[] {
  return sample.inputs.map((input) => {
    const fail = (why: string): never => {
      throw new ServingError(
        'MODEL_CONFIG_INVALID',
        `model_warmup ${JSON.stringify(sample.name)}, input ${JSON.stringify(input.name)}: ${why}`,
      );
    };
    if (input.dims.some((dimension) => dimension < 0))
      fail(`dims [${input.dims.join(', ')}] must be fixed numbers`);
    const rows = options.hasBatchDimension ? Math.max(1, sample.batchSize) : 1;
    const elements = input.dims.reduce((product, dimension) => product * dimension, 1);
    const rowBytes = elements * (input.dataType === 'BYTES' ? 4 : elementBytes[input.dataType]);
    if (rows * rowBytes > MOST_BYTES) fail(`${rows * rowBytes} bytes are above the limit of ${MOST_BYTES}`);
    const shape = options.hasBatchDimension ? [rows, ...input.dims] : [...input.dims];
    const { name, dataType } = input;
    if (input.source === 'zero') return { name, dataType, shape, data: new Uint8Array(rows * rowBytes) };
    if (input.source === 'random')
      return { name, dataType, shape, data: randomData(dataType, rows * elements) };
    const folder = join(options.modelFolder, 'warmup');
    const row = readRow(input, { folder, rows, elements, rowBytes, fail });
    return { name, dataType, shape, data: repeat(row, rows) };
  });
}

/** A small linear congruential generator (Numerical Recipes): a failing sample must fail again when it is looked into. */
function* randomBits(): Generator<number, never> {
  for (let state = 1; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state >>> 8;
  }
}

function randomData(dataType: DataType, elements: number): Uint8Array {
  if (dataType === 'BYTES') return new Uint8Array(elements * 4);
  const size = elementBytes[dataType];
  const data = new Uint8Array(elements * size);
  const view = new DataView(data.buffer);
  const bits = randomBits();
  for (let at = 0; at < data.length; at += size) {
    const value = bits.next().value;
    if (dataType === 'FP32') view.setFloat32(at, value / 2 ** 24, true);
    else if (dataType === 'FP64') view.setFloat64(at, value / 2 ** 24, true);
    // Exponents of [0.5, 1) with a random fraction.
    else if (dataType === 'FP16') view.setUint16(at, 0x3800 | (value & 0x3ff), true);
    else if (dataType === 'BF16') view.setUint16(at, 0x3f00 | (value & 0x7f), true);
    else data[at] = (value >>> 8) & 1;
  }
  return data;
}

interface RowFile {
  folder: string;
  rows: number;
  elements: number;
  rowBytes: number;
  fail: (why: string) => never;
}

function readRow(input: WarmupInput, { folder, rows, elements, rowBytes, fail }: RowFile): Uint8Array {
  const file = realPath(resolve(folder, input.source));
  if (file === undefined) return fail(`the file ${input.source} is not in warmup/`);
  const base = realPath(folder);
  if (base === undefined || !file.startsWith(base + sep))
    return fail(`${input.source} is outside of warmup/`);
  const stat = statSync(file);
  // Reading a named pipe would wait for a writer for ever.
  if (!stat.isFile()) return fail(`${input.source} is no regular file`);
  const { size } = stat;
  if (size * rows > MOST_BYTES)
    return fail(
      `${input.source} has ${size} bytes for each of ${rows} rows; the limit is ${MOST_BYTES} in all`,
    );
  const data = new Uint8Array(readFileSync(file));
  if (input.dataType === 'BYTES') {
    const found = countStrings(data);
    if (found === undefined) return fail(`the last string of ${input.source} is cut off`);
    if (found !== elements) return fail(`${input.source} has ${found} strings instead of ${elements}`);
  } else if (data.length !== rowBytes) {
    return fail(`${input.source} has ${data.length} bytes; one row of ${input.dataType} takes ${rowBytes}`);
  }
  return data;
}

/** @returns undefined when the last one is cut off */
function countStrings(data: Uint8Array): number | undefined {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  let at = 0;
  let count = 0;
  for (; at + 4 <= data.length; count++) at += 4 + view.getUint32(at, true);
  return at === data.length ? count : undefined;
}

function repeat(row: Uint8Array, rows: number): Uint8Array {
  const data = new Uint8Array(row.length * rows);
  for (let r = 0; r < rows; r++) data.set(row, r * row.length);
  return data;
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
