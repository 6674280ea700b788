import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { BackendInfo, Batch } from '../types.ts';

/** What a forward pass gave: token states [rows, length, width] or one vector per row [rows, width]. */
export interface Forward {
  data: Float32Array;
  /** Whether there is one state per token, or one per row. */
  perToken: boolean;
  width: number;
}

const PREFERRED_OUTPUTS = ['last_hidden_state', 'token_embeddings', 'logits', 'sentence_embedding'];
const KNOWN_INPUTS = ['input_ids', 'attention_mask', 'token_type_ids'];

/** One ONNX Runtime session of a text model. Its calls block the thread that they run on. */
export class OnnxBackend {
  readonly info: BackendInfo;
  readonly #session: InferenceSession;
  readonly #output: string;

  private constructor(session: InferenceSession, output: string) {
    this.#session = session;
    this.#output = output;
    const width = lastDimension(session, output);
    const isClassifier = output === 'logits';
    this.info = {
      inputs: [...session.inputNames],
      outputs: [...session.outputNames],
      dimension: isClassifier ? 0 : width,
      labels: isClassifier ? width : 0,
      perToken: shapeOf(session, output).length === 3,
      executionProvider: 'cpu',
    };
  }

  /** @throws Error when the file is no ONNX model, or not one of a text encoder. */
  static async open(options: { modelFile: string; intraOpThreads: number }): Promise<OnnxBackend> {
    const session = await InferenceSession.create(options.modelFile, {
      executionProviders: ['cpu'],
      intraOpNumThreads: options.intraOpThreads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel: 'all',
    });
    try {
      return new OnnxBackend(session, chooseOutput(session));
    } catch (error) {
      // Without release the memory of a session that is of no use would stay.
      await session.release();
      throw error;
    }
  }

  /** @throws Error when the runtime refuses the batch. */
  async run(batch: Batch): Promise<Forward> {
    const plane = batch.rows * batch.length;
    const feeds: Record<string, Tensor> = {};
    KNOWN_INPUTS.forEach((name, index) => {
      if (!this.info.inputs.includes(name)) return;
      const data = new BigInt64Array(batch.tokens, index * plane * 8, plane);
      feeds[name] = new Tensor('int64', data, [batch.rows, batch.length]);
    });
    const outputs = await this.#session.run(feeds, [this.#output]);
    const output = outputs[this.#output]!;
    if (output.type !== 'float32')
      throw new Error(`output ${this.#output} is ${output.type}; only float32 is read`);
    return {
      data: output.data as Float32Array,
      perToken: output.dims.length === 3,
      width: output.dims.at(-1)!,
    };
  }

  /** Gives the session's memory back. */
  async release(): Promise<void> {
    await this.#session.release();
  }
}

/** @throws Error when it is not a text encoder */
function chooseOutput(session: InferenceSession): string {
  const strangers = session.inputNames.filter((name) => !KNOWN_INPUTS.includes(name));
  if (!session.inputNames.includes('input_ids') || strangers.length > 0) {
    throw new Error(
      `its inputs are ${session.inputNames.join(', ')}; a text encoder takes input_ids and, optionally, attention_mask and token_type_ids`,
    );
  }
  const output = PREFERRED_OUTPUTS.find((name) => session.outputNames.includes(name));
  if (output === undefined) {
    throw new Error(
      `none of its outputs (${session.outputNames.join(', ')}) is one of ${PREFERRED_OUTPUTS.join(', ')}`,
    );
  }
  return output;
}

/** The declared last dimension of an output; models whose last dimension is not fixed are not served. */
function lastDimension(session: InferenceSession, output: string): number {
  const dimension = shapeOf(session, output).at(-1);
  if (typeof dimension !== 'number' || dimension <= 0) {
    throw new Error(
      `the last dimension of output ${output} is ${String(dimension)}; it must be a fixed number`,
    );
  }
  return dimension;
}

function shapeOf(session: InferenceSession, output: string): readonly (number | string)[] {
  const metadata = session.outputMetadata.find((entry) => entry.name === output);
  return metadata?.isTensor ? metadata.shape : [];
}
