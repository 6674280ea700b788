import { posix } from 'node:path';

/** The precisions that `--variant` can name. */
export const precisions = ['fp32', 'fp16', 'int8', 'uint8', 'q4', 'q4f16', 'bnb4'] as const;
export type Precision = (typeof precisions)[number];

/** A processor that a file was quantised for. */
export type Target = 'avx512_vnni' | 'avx512' | 'avx2' | 'arm64';

/** What the name of an ONNX file says. */
export interface OnnxName {
  path: string;
  /** Name of the network: `model`, `text_model`. */
  network: string;
  precision: Precision;
  /** The processor it was quantised for; undefined: any. */
  target: Target | undefined;
  /** Whether the name leaves open how the weights were made 8 bits wide (`model_quantized.onnx`). */
  unspecific: boolean;
  /** Level of the offline graph optimisation, 0 to 4; 4 is half precision for GPUs. */
  optimised: number;
}

/** Suffixes as Optimum, sentence-transformers and Transformers.js write them. */
const suffixes: readonly (readonly [RegExp, Partial<OnnxName>])[] = [
  [/[_.-]o([1-4])$/i, {}],
  [/[_.-]optimi[sz]ed$/i, { optimised: 2 }],
  [/[_.-](fp32|float32)$/i, {}],
  [/[_.-](fp16|float16)$/i, { precision: 'fp16' }],
  [/[_.-]q4f16$/i, { precision: 'q4f16' }],
  [/[_.-](q4|int4)$/i, { precision: 'q4' }],
  [/[_.-]bnb4$/i, { precision: 'bnb4' }],
  [/[_.-](quantized|q8)$/i, { precision: 'int8', unspecific: true }],
  [/[_.-](qint8|int8)$/i, { precision: 'int8' }],
  [/[_.-](quint8|uint8)$/i, { precision: 'uint8' }],
  [/[_.-]avx512[_-]vnni$/i, { target: 'avx512_vnni' }],
  [/[_.-]avx512$/i, { target: 'avx512' }],
  [/[_.-]avx2$/i, { target: 'avx2' }],
  [/[_.-]arm64$/i, { target: 'arm64' }],
];

/** Whether a path is that of an ONNX file. */
export function isOnnx(path: string): boolean {
  return /\.onnx$/i.test(path);
}

/** Reads precision, processor and optimisation out of a file's name; a name that says nothing means full precision. */
export function readOnnxName(path: string): OnnxName {
  const read: OnnxName = {
    path,
    network: posix.basename(path).replace(/\.onnx$/i, ''),
    precision: 'fp32',
    target: undefined,
    unspecific: false,
    optimised: 0,
  };
  for (let found = true; found; ) {
    found = false;
    for (const [pattern, meaning] of suffixes) {
      const match = pattern.exec(read.network);
      if (match === null || match.index === 0) continue;
      Object.assign(read, meaning);
      if (pattern === suffixes[0]![0]) read.optimised = Number(match[1]);
      read.network = read.network.slice(0, match.index);
      found = true;
    }
  }
  // Optimum's level 4 is half precision by definition.
  if (read.optimised === 4 && read.precision === 'fp32') read.precision = 'fp16';
  return read;
}
