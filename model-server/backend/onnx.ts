import type { BackendInfo, RawTensor, SessionSettings, TensorBatch, TokenBatch } from '../types.ts';
import { type Forward, forwardTexts } from './forward-texts.ts';
import { openSession } from './session.ts';
import { declaredTensors } from './session-tensors.ts';
import { fromRuntime, toRuntime } from './tensor-codec.ts';
import { findTextHead } from './text-head.ts';
import { openTextSession, type TextSession, whileGood } from './text-session.ts';
import { planeIndexes, wantedBy } from './token-tensors.ts';

/** One ONNX Runtime session. Its calls block the thread that they run on. */
export class OnnxBackend {
  readonly info: BackendInfo;
  /** What was wanted and what was got, when that differs; else empty. */
  readonly note: string;
  /** The mark of the file, when its rewritten graph holds. */
  readonly provenFile: string | undefined;
  readonly #session: TextSession;

  private constructor(session: TextSession, info: BackendInfo) {
    this.#session = session;
    this.info = info;
    this.note = session.note;
    this.provenFile = session.provenFile;
  }

  /**
   * @param provenFiles marks of files whose rewritten graphs are known to hold
   * @throws Error when the file is no ONNX model, or should serve texts and is no text encoder
   */
  static async open(options: SessionSettings, provenFiles: readonly string[] = []): Promise<OnnxBackend> {
    const opened = options.text
      ? await openTextSession(options, provenFiles)
      : { ...(await openSession(options)), packed: false, whyPadded: '' };
    const { session, executionProvider, packed, whyPadded } = opened;
    return whileGood(session, () => {
      const { inputs, outputs } = declaredTensors(session);
      const head = options.text ? findTextHead(inputs, outputs, options.outputName) : undefined;
      const text = head && { ...head, packed, whyPadded };
      return new OnnxBackend(opened, { inputs, outputs, text, executionProvider });
    });
  }

  /** @throws Error when the runtime refuses the batch, or the model serves no texts. */
  async runTexts(batch: TokenBatch): Promise<Forward> {
    const output = this.info.text?.output;
    if (output === undefined) throw new Error('this model serves raw tensors only');
    return forwardTexts({ session: this.#session.session, packed: this.#session.packed, output }, batch);
  }

  /** @throws Error when the runtime refuses the batch. */
  async runTensors(batch: TensorBatch): Promise<RawTensor[]> {
    const { session, packed } = this.#session;
    const given = Object.fromEntries(batch.inputs.map((input) => [input.name, toRuntime(input)]));
    const feeds = packed ? { ...wantedBy(session, planeIndexes(planeOf(batch))), ...given } : given;
    const outputs = await session.run(feeds, batch.outputs);
    return batch.outputs.map((name) => fromRuntime(name, outputs[name]!));
  }

  /** Gives the session's memory back. */
  async release(): Promise<void> {
    await this.#session.session.release();
  }
}

/** Rows and length of the planes of a text encoder's raw tensors. */
function planeOf({ inputs }: TensorBatch): { rows: number; length: number } {
  const [rows = 0, length = 0] = inputs.find(({ name }) => name === 'input_ids')?.shape ?? [];
  return { rows, length };
}
