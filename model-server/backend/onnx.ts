import type { InferenceSession } from 'onnxruntime-node';
import type {
  BackendInfo,
  RawTensor,
  SessionSettings,
  TensorBatch,
  TensorSpec,
  TokenBatch,
} from '../types.ts';
import { readFloats } from './read-floats.ts';
import { openSession } from './session.ts';
import { dataTypeOf, fromRuntime, toRuntime } from './tensor-codec.ts';
import { findTextHead, TEXT_INPUTS } from './text-head.ts';
import { paddedTensors } from './token-tensors.ts';

/** What a forward pass gave: states of `width` values one after another, for every token or one for every row. */
export interface Forward {
  data: Float32Array;
  /** Whether there is one state per token, or one per row. */
  perToken: boolean;
  width: number;
  /** For each row, the place of its first state. */
  starts: Int32Array;
}

/** One ONNX Runtime session. Its calls block the thread that they run on. */
export class OnnxBackend {
  readonly info: BackendInfo;
  /** Why it does not run on the wanted execution provider; else empty. */
  readonly note: string;
  readonly #session: InferenceSession;
  /** Those of TEXT_INPUTS that the model has. */
  readonly #textInputs: readonly string[];

  private constructor(session: InferenceSession, info: BackendInfo, note: string) {
    this.#session = session;
    this.info = info;
    this.note = note;
    this.#textInputs = TEXT_INPUTS.filter((name) => session.inputNames.includes(name));
  }

  /** @throws Error when the file is no ONNX model, or should serve texts and is no text encoder. */
  static async open(options: SessionSettings): Promise<OnnxBackend> {
    const { session, executionProvider, note } = await openSession(options);
    try {
      const inputs = session.inputMetadata.map((entry) => specOf(entry, 'input'));
      // What is no tensor (a sequence, a map) can't be asked for, but does not keep the others from being served.
      const tensors = session.outputMetadata.filter((entry) => entry.isTensor);
      const outputs = tensors.map((entry) => specOf(entry, 'output'));
      const text = options.text ? findTextHead(inputs, outputs, options.outputName) : undefined;
      return new OnnxBackend(session, { inputs, outputs, text, executionProvider }, note);
    } catch (error) {
      // Without release the memory of a session that is of no use would stay.
      await session.release();
      throw error;
    }
  }

  /** @throws Error when the runtime refuses the batch, or the model serves no texts. */
  async runTexts(batch: TokenBatch): Promise<Forward> {
    const name = this.info.text?.output;
    if (name === undefined) throw new Error('this model serves raw tensors only');
    const { feeds, starts } = paddedTensors(batch);
    const taken = Object.fromEntries(this.#textInputs.map((input) => [input, feeds[input]!]));
    const output = (await this.#session.run(taken, [name]))[name]!;
    const perToken = output.dims.length === 3;
    return {
      data: readFloats(name, output),
      perToken,
      width: output.dims.at(-1)!,
      starts: perToken ? starts : Int32Array.from(starts.keys()),
    };
  }

  /** @throws Error when the runtime refuses the batch. */
  async runTensors(batch: TensorBatch): Promise<RawTensor[]> {
    const feeds = Object.fromEntries(batch.inputs.map((input) => [input.name, toRuntime(input)]));
    const outputs = await this.#session.run(feeds, batch.outputs);
    return batch.outputs.map((name) => fromRuntime(name, outputs[name]!));
  }

  /** Gives the session's memory back. */
  async release(): Promise<void> {
    await this.#session.release();
  }
}

function specOf(entry: InferenceSession.ValueMetadata, what: 'input' | 'output'): TensorSpec {
  const { name } = entry;
  if (!entry.isTensor) throw new Error(`${what} ${name} is no tensor`);
  const dataType = dataTypeOf(entry.type);
  if (dataType === undefined) throw new Error(`${what} ${name} is ${entry.type}, which has no wire type`);
  return {
    name,
    dataType,
    shape: entry.shape.map((dimension) => (typeof dimension === 'number' ? dimension : -1)),
  };
}
