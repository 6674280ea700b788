import type { InferenceSession } from 'onnxruntime-node';
import type { TokenBatch } from '../types.ts';
import { readFloats } from './read-floats.ts';
import { packedTensors, paddedTensors, wantedBy } from './token-tensors.ts';

/** What a forward pass gave: states of `width` values one after another, for every token or one for every row. */
export interface Forward {
  data: Float32Array;
  /** Whether there is one state per token, or one per row. */
  perToken: boolean;
  width: number;
  /** For each row, the place of its first state. */
  starts: Int32Array;
}

/** How a session is run on texts. */
export interface TextRun {
  session: InferenceSession;
  /** The output that texts are served from. */
  output: string;
  /** Whether its graph takes texts without padding. */
  packed: boolean;
}

/** Runs a batch of texts. @throws Error when the runtime refuses it */
export async function forwardTexts(
  { session, output, packed }: TextRun,
  batch: TokenBatch,
): Promise<Forward> {
  const { feeds, starts } = packed ? packedTensors(batch) : paddedTensors(batch);
  const tensor = (await session.run(wantedBy(session, feeds), [output]))[output]!;
  const perToken = tensor.dims.length === 3;
  return {
    data: readFloats(output, tensor),
    perToken,
    width: tensor.dims.at(-1)!,
    starts: perToken ? starts : Int32Array.from(starts.keys()),
  };
}
