import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Dimension, ELEMENT, type Element, type Node, onnxModel, type Weights } from './onnx-message.ts';

type Bytes = Uint8Array;

const floats = (values: ArrayLike<number>): Bytes => new Uint8Array(Float32Array.from(values).buffer);
const ints = (...values: number[]): Bytes => new Uint8Array(BigInt64Array.from(values, BigInt).buffer);

/** Values in [-1, 1) that depend on nothing but the seed. */
function* noiseOf(seed: number): Generator<number> {
  let state = (seed * 2654435761 + 12345) >>> 0;
  for (;;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 31 - 1;
  }
}

const SMALLEST_BLOCK = 256;

export interface TextEncoderOptions {
  /** Width of the token states; 8 unless told. */
  width?: number;
  /** Models of one seed have the same weights. */
  seed?: number;
  /** How much is mixed in from another seed: small values give a model whose vectors are near. */
  noise?: number;
  /** Makes each row depend on the others of its batch, as dynamic quantisation does. */
  neighbours?: boolean;
  /** A cross-encoder with a head of this many labels, instead of token states. */
  labels?: number;
  /** Least bytes of the embedding table, to make memory visible. */
  weightBytes?: number;
  opset?: number;
  /** Names of the inputs for ids and mask. */
  inputs?: [ids: string, mask: string];
  /** Name of the output. */
  output?: string;
  /** Keeps the table in this file beside the model: see `textEncoderTable`. */
  external?: string;
}

/** The embedding table of a text encoder: what its external file holds. */
export function textEncoderTable(options: TextEncoderOptions = {}): Bytes {
  const { width = 8, seed = 1, noise = 0, weightBytes = 0 } = options;
  const rows = Math.max(SMALLEST_BLOCK, Math.ceil(weightBytes / (width * 4)));
  const [own, other] = [noiseOf(seed), noiseOf(seed + 1000)];
  const block = Float32Array.from(
    { length: SMALLEST_BLOCK * width },
    () => own.next().value! + noise * other.next().value!,
  );
  const table = new Float32Array(rows * width);
  for (let at = 0; at < table.length; at += block.length)
    table.set(block.subarray(0, Math.min(block.length, table.length - at)), at);
  return new Uint8Array(table.buffer);
}

/**
 * A text encoder: the state of a token is its row of a table of random numbers (256 rows or more). Inputs input_ids and
 * attention_mask [batch, sequence]; output last_hidden_state [batch, sequence, width], or logits [batch, labels].
 */
export function textEncoder(options: TextEncoderOptions = {}): Bytes {
  const { width = 8, seed = 1, labels } = options;
  const [ids, mask] = options.inputs ?? ['input_ids', 'attention_mask'];
  const output = options.output ?? (labels === undefined ? 'last_hidden_state' : 'logits');
  const data = textEncoderTable(options);
  const external = options.external === undefined ? undefined : { file: options.external };
  const table: Weights = {
    name: 'table',
    element: 'FP32',
    dims: [data.byteLength / 4 / width, width],
    data,
    external,
  };
  const states = labels === undefined ? output : 'states';
  const looked = options.neighbours ? 'looked_up' : states;
  const nodes: Node[] = [{ type: 'Gather', inputs: ['table', ids], outputs: [looked] }];
  const weights = [table];
  if (options.neighbours) {
    nodes.push({ type: 'ReduceMean', inputs: [looked], outputs: ['mean'], attributes: { keepdims: 1 } });
    nodes.push({ type: 'Sub', inputs: [looked, 'mean'], outputs: [states] });
  }
  if (labels !== undefined) {
    const head = noiseOf(seed + 500);
    nodes.push(...headNodes(states, mask, output));
    const data = floats(Array.from({ length: width * labels }, () => head.next().value!));
    weights.push(
      { name: 'head', element: 'FP32', dims: [width, labels], data },
      { name: 'last_axis', element: 'INT64', dims: [1], data: ints(2) },
      { name: 'token_axis', element: 'INT64', dims: [1], data: ints(1) },
    );
  }
  return onnxModel({
    nodes,
    weights,
    inputs: [ids, mask].map((name) => ({ name, element: 'INT64', dims: ['batch', 'sequence'] })),
    outputs: [
      {
        name: output,
        element: 'FP32',
        dims: labels === undefined ? ['batch', 'sequence', width] : ['batch', labels],
      },
    ],
    opset: options.opset,
  });
}

/** Mean of the states of tokens that are no padding, times the head. */
function headNodes(states: string, mask: string, output: string): Node[] {
  return [
    { type: 'Cast', inputs: [mask], outputs: ['mask_float'], attributes: { to: ELEMENT.FP32 } },
    { type: 'Unsqueeze', inputs: ['mask_float', 'last_axis'], outputs: ['mask_wide'] },
    { type: 'Mul', inputs: [states, 'mask_wide'], outputs: ['masked'] },
    { type: 'ReduceSum', inputs: ['masked', 'token_axis'], outputs: ['sum'], attributes: { keepdims: 0 } },
    {
      type: 'ReduceSum',
      inputs: ['mask_wide', 'token_axis'],
      outputs: ['count'],
      attributes: { keepdims: 0 },
    },
    { type: 'Div', inputs: ['sum', 'count'], outputs: ['pooled'] },
    { type: 'MatMul', inputs: ['pooled', 'head'], outputs: [output] },
  ];
}

export interface TensorModelOptions {
  /** What is added to x: y = x + bias. */
  bias?: number;
  /** Shape of every tensor, batch dimension included; ['batch', 4] unless told. */
  dims?: Dimension[];
  /** Which parts it has; all unless told. */
  parts?: ('FP32' | 'INT64' | 'BYTES')[];
  opset?: number;
}

/** A model of raw tensors: FP32 x -> y = x + bias, INT64 n -> n_same, BYTES s -> s_same. */
export function tensorModel(options: TensorModelOptions = {}): Bytes {
  const { bias = 1, dims = ['batch', 4], parts = ['FP32', 'INT64', 'BYTES'] } = options;
  const all: { element: Element; input: string; output: string; node: Partial<Node> }[] = [
    { element: 'FP32', input: 'x', output: 'y', node: { type: 'Add', inputs: ['x', 'b'] } },
    { element: 'INT64', input: 'n', output: 'n_same', node: { type: 'Identity', inputs: ['n'] } },
    { element: 'BYTES', input: 's', output: 's_same', node: { type: 'Identity', inputs: ['s'] } },
  ];
  const kept = all.filter(({ element }) => (parts as Element[]).includes(element));
  return onnxModel({
    nodes: kept.map(({ output, node }) => ({ ...node, outputs: [output] }) as Node),
    weights: parts.includes('FP32') ? [{ name: 'b', element: 'FP32', dims: [1], data: floats([bias]) }] : [],
    inputs: kept.map(({ element, input }) => ({ name: input, element, dims })),
    outputs: kept.map(({ element, output }) => ({ name: output, element, dims })),
    opset: options.opset,
  });
}

const SPECIALS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
const LETTERS = [...'abcdefghijklmnopqrstuvwxyz0123456789.,?!-'];
const WORDS =
  'the of and to in is a text warm up hello world cat dog red blue green one two three query document';

/** Writes tokenizer.json and tokenizer_config.json: WordPiece over single letters and some words, 128 entries at most. */
export function writeTinyTokenizer(folder: string): void {
  const words = new Set([
    ...SPECIALS,
    ...LETTERS,
    ...LETTERS.map((letter) => `##${letter}`),
    ...WORDS.split(' '),
  ]);
  const vocab = Object.fromEntries([...words].map((word, id) => [word, id]));
  const special = (id: string, type_id: number) => ({ SpecialToken: { id, type_id } });
  const sequence = (id: string, type_id: number) => ({ Sequence: { id, type_id } });
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIALS.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [special('[CLS]', 0), sequence('A', 0), special('[SEP]', 0)],
      pair: [
        special('[CLS]', 0),
        sequence('A', 0),
        special('[SEP]', 0),
        sequence('B', 1),
        special('[SEP]', 1),
      ],
      special_tokens: {
        '[CLS]': { id: '[CLS]', ids: [2], tokens: ['[CLS]'] },
        '[SEP]': { id: '[SEP]', ids: [3], tokens: ['[SEP]'] },
      },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab,
    },
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  writeFileSync(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ tokenizer_class: 'BertTokenizer', do_lower_case: true, model_max_length: 128 }),
  );
}

/** Writes `<repository>/<name>/<version>/model.onnx` with a tokenizer in the model folder; returns the model folder. */
export function writeTextModel(
  repository: string,
  name: string,
  options: TextEncoderOptions & { version?: number } = {},
): string {
  const folder = join(repository, name);
  const versionFolder = join(folder, String(options.version ?? 1));
  mkdirSync(versionFolder, { recursive: true });
  writeTinyTokenizer(folder);
  if (options.labels !== undefined)
    writeFileSync(
      join(folder, 'config.json'),
      JSON.stringify({ model_type: 'bert', architectures: ['BertForSequenceClassification'] }),
    );
  if (options.external !== undefined)
    writeFileSync(join(versionFolder, options.external), textEncoderTable(options));
  writeFileSync(join(versionFolder, 'model.onnx'), textEncoder(options));
  return folder;
}

/** Writes `<repository>/<name>/<version>/model.onnx` of a model of raw tensors; returns the model folder. */
export function writeTensorModel(
  repository: string,
  name: string,
  options: TensorModelOptions & { version?: number } = {},
): string {
  const folder = join(repository, name);
  const versionFolder = join(folder, String(options.version ?? 1));
  mkdirSync(versionFolder, { recursive: true });
  writeFileSync(join(versionFolder, 'model.onnx'), tensorModel(options));
  return folder;
}
