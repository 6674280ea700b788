import { type FileHandle, open } from 'node:fs/promises';
import { CommandFailure } from '../exit-codes.ts';

/** Fields of the ONNX messages (onnx.proto) on the way to the places where tensors can name a file. */
const MODEL = { graph: 7, functions: 25 };
const GRAPH = { node: 1, initializer: 5, sparseInitializer: 15 };
const FUNCTION = { node: 7 };
const NODE = { attribute: 5 };
const ATTRIBUTE = { tensor: 5, graph: 6, tensors: 10, graphs: 11, sparse: 22, sparses: 23 };
const SPARSE = { values: 1, indices: 2 };
const TENSOR = { externalData: 13 };
const ENTRY = { key: 1, value: 2 };

type Kind = 'model' | 'graph' | 'function' | 'node' | 'attribute' | 'sparse' | 'tensor' | 'entry';

const inside: Record<Kind, Readonly<Record<number, Kind>>> = {
  model: { [MODEL.graph]: 'graph', [MODEL.functions]: 'function' },
  graph: { [GRAPH.node]: 'node', [GRAPH.initializer]: 'tensor', [GRAPH.sparseInitializer]: 'sparse' },
  function: { [FUNCTION.node]: 'node' },
  node: { [NODE.attribute]: 'attribute' },
  attribute: {
    [ATTRIBUTE.tensor]: 'tensor',
    [ATTRIBUTE.tensors]: 'tensor',
    [ATTRIBUTE.graph]: 'graph',
    [ATTRIBUTE.graphs]: 'graph',
    [ATTRIBUTE.sparse]: 'sparse',
    [ATTRIBUTE.sparses]: 'sparse',
  },
  sparse: { [SPARSE.values]: 'tensor', [SPARSE.indices]: 'tensor' },
  tensor: { [TENSOR.externalData]: 'entry' },
  entry: {},
};

const WINDOW_BYTES = 64 * 1024;
const MOST_DEPTH = 64;
const MOST_ENTRY_BYTES = 4096;

/**
 * Names of the files that an ONNX file keeps its weights in, relative to its own folder, in order of appearance. Weights
 * inside the file are skipped, not read, so that gigabytes cost as little as kilobytes.
 * @throws CommandFailure when the file is no ONNX model, or ends too early
 */
export async function externalDataOf(path: string, name: string): Promise<string[]> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    const walk = new Walk(handle, name);
    await walk.message('model', { from: 0, to: size, depth: 0 });
    if (!walk.hasGraph) throw await walk.notOnnx('it holds no graph');
    return [...walk.locations];
  } finally {
    await handle.close();
  }
}

interface Span {
  from: number;
  to: number;
  depth: number;
}

/** One pass over the protobuf wire format, with a window of the file in memory. */
class Walk {
  readonly locations = new Set<string>();
  hasGraph = false;
  readonly #handle: FileHandle;
  readonly #name: string;
  readonly #window = Buffer.alloc(WINDOW_BYTES);
  #windowFrom = 0;
  #windowTo = 0;
  #at = 0;

  constructor(handle: FileHandle, name: string) {
    this.#handle = handle;
    this.#name = name;
  }

  async message(kind: Kind, { from, to, depth }: Span): Promise<void> {
    if (depth > MOST_DEPTH)
      throw await this.notOnnx(`its graphs are nested deeper than ${MOST_DEPTH} messages`);
    this.#at = from;
    let key = '';
    let value = '';
    while (this.#at < to) {
      const tag = await this.#varint(to);
      const field = Math.floor(tag / 8);
      const end = await this.#endOfValue(tag % 8, to);
      const child = inside[kind][field];
      if (kind === 'model' && field === MODEL.graph) this.hasGraph = true;
      if (tag % 8 === 2 && child !== undefined) {
        await this.message(child, { from: this.#at, to: end, depth: depth + 1 });
      } else if (kind === 'entry' && tag % 8 === 2) {
        const text = await this.#text(end);
        if (field === ENTRY.key) key = text;
        else if (field === ENTRY.value) value = text;
      }
      this.#at = end;
    }
    if (key === 'location') this.locations.add(value);
  }

  async notOnnx(why: string): Promise<CommandFailure> {
    const start = Buffer.alloc(40);
    await this.#handle.read(start, 0, start.length, 0);
    if (start.toString('latin1').startsWith('version https://git-lfs'))
      return new CommandFailure(
        `${this.#name} is only a Git LFS pointer; run "git lfs pull" in its folder first`,
      );
    return new CommandFailure(`${this.#name} is no whole ONNX model: ${why} (at byte ${this.#at})`);
  }

  /** Moves to the start of the value and says where it ends. */
  async #endOfValue(wireType: number, to: number): Promise<number> {
    if (wireType === 0) await this.#varint(to);
    const bytes = wireType === 2 ? await this.#varint(to) : { 0: 0, 1: 8, 5: 4 }[wireType];
    if (bytes === undefined) throw await this.notOnnx(`wire type ${wireType} is not used`);
    const end = this.#at + bytes;
    if (end > to) throw await this.notOnnx(`${bytes} bytes are announced, ${to - this.#at} are there`);
    return end;
  }

  async #varint(to: number): Promise<number> {
    let value = 0;
    for (let shift = 0; shift < 10; shift++) {
      if (this.#at >= to) throw await this.notOnnx('it ends inside a number');
      const byte = await this.#byte();
      value += (byte & 0x7f) * 2 ** (7 * shift);
      if (byte < 0x80) return value;
    }
    throw await this.notOnnx('a number is longer than ten bytes');
  }

  async #byte(): Promise<number> {
    if (this.#at < this.#windowFrom || this.#at >= this.#windowTo) {
      const { bytesRead } = await this.#handle.read(this.#window, 0, WINDOW_BYTES, this.#at);
      this.#windowFrom = this.#at;
      this.#windowTo = this.#at + bytesRead;
      if (bytesRead === 0) throw await this.notOnnx('it was cut while it was read');
    }
    return this.#window[this.#at++ - this.#windowFrom]!;
  }

  async #text(end: number): Promise<string> {
    const bytes = end - this.#at;
    if (bytes > MOST_ENTRY_BYTES) throw await this.notOnnx(`a name has ${bytes} bytes`);
    const text = Buffer.alloc(bytes);
    await this.#handle.read(text, 0, bytes, this.#at);
    return text.toString('utf8');
  }
}
