import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { fuseRowQuantize } from './graph/fuse-row-quantize.ts';
import { packTokens } from './graph/pack-tokens.ts';
import { Unpackable } from './graph/packing.ts';
import { readGraph } from './graph/read-graph.ts';
import { writeGraph } from './graph/write-graph.ts';
import { headName } from './text-head.ts';

/** A model file that takes texts without padding. */
export interface RewrittenFile {
  /** The bytes of an ONNX file. */
  model: Uint8Array<ArrayBuffer>;
  /** How many ids there are, by input. */
  idCounts: ReadonlyMap<string, number>;
  /** Tells the file from any other, and from what may take its place later. */
  mark: string;
}

/** Files above this are taken as they are: for a moment the rewritten one lies in memory beside it. */
const MOST_BYTES = 2 ** 30;

/**
 * Reads a text encoder and rewrites it in memory; the file stays as it is.
 * @param outputName the output that texts are served from; the first of the usual ones when absent
 * @throws Unpackable with the reason when it can't be rewritten
 * @throws Error when it is no ONNX file
 */
export function rewriteFile(path: string, outputName?: string): RewrittenFile {
  const { file, mark } = readWhole(path);
  try {
    return { ...rewrite(file, outputName), mark };
  } finally {
    giveBack(file);
  }
}

function rewrite(file: Uint8Array, outputName: string | undefined): Omit<RewrittenFile, 'mark'> {
  const graph = readGraph(file);
  if (graph.hasForeignWeights) throw new Unpackable('it has sparse weights or weights in other files');
  const head = headName(
    graph.outputs.map(({ name }) => name),
    outputName,
  );
  if (head === undefined) throw new Unpackable('it has no output that texts are served from');
  const { graph: packed, weights, idCounts } = fuseRowQuantize(packTokens(graph, head));
  return { model: writeGraph(packed, weights), idCounts };
}

/** Frees the memory of bytes that nobody needs any more; the garbage collector might leave it for long. */
export function giveBack(bytes: Uint8Array<ArrayBuffer>): void {
  bytes.buffer.transfer(0);
}

function readWhole(path: string): { file: Uint8Array<ArrayBuffer>; mark: string } {
  const handle = openSync(path, 'r');
  try {
    const { size, mtimeMs, ino } = fstatSync(handle);
    if (size > MOST_BYTES)
      throw new Unpackable(`it has ${size} bytes, and more than ${MOST_BYTES} are not rewritten`);
    const file = new Uint8Array(size);
    let at = 0;
    for (let read = -1; read !== 0 && at < size; at += read) read = readSync(handle, file, at, size - at, at);
    return { file, mark: `${path} ${ino} ${size} ${mtimeMs}` };
  } finally {
    closeSync(handle);
  }
}
