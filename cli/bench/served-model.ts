import { EmbedService } from '../../proto/gen/serving_pb.js';
import type { ModelServer } from '../client/model-server.ts';
import type { TextPool } from './texts.ts';

/** Texts in one call for their tokens. */
const TEXTS_PER_CALL = 256;
/** A model may be loaded by the first call. */
const FIRST_MS = 120_000;

/** The model that answers, as it tells it. */
export interface ServedModel {
  name: string;
  version: number;
  dimension: number;
  /** Tokens of one text at most, special tokens included. */
  maxTokens: number;
  specialTokens: number;
}

/**
 * Asks which model answers, by embedding one text.
 * @param model empty: the only one
 * @throws CommandFailure
 */
export async function askServedModel(server: ModelServer, model: string): Promise<ServedModel> {
  const { embed, tokenize } = EmbedService.method;
  const inputs = ['which model is this?'];
  const answer = await server.call(embed, { model, inputs }, FIRST_MS);
  const { maxTokens, specialTokens } = await server.call(tokenize, { model, inputs });
  const { name, version } = answer.model!;
  return { name, version, dimension: answer.dimension, maxTokens, specialTokens };
}

/** A pool whose tokens the model's tokenizer has counted. */
export interface CountedPool extends TextPool {
  /** Token ids of each text as the model gets it: cut off, and with something in the place of special tokens. */
  rows: readonly (readonly number[])[];
}

/**
 * Counts the tokens of each text as the model sees it.
 * @throws CommandFailure
 */
export async function countTokens(
  server: ModelServer,
  pool: TextPool,
  { name, maxTokens, specialTokens }: ServedModel,
): Promise<CountedPool> {
  const rows: number[][] = [];
  const tokens: number[] = [];
  for (let at = 0; at < pool.texts.length; at += TEXTS_PER_CALL) {
    const inputs = pool.texts.slice(at, at + TEXTS_PER_CALL);
    const request = { model: name, inputs, withIds: true };
    const { results } = await server.call(EmbedService.method.tokenize, request, 60_000);
    for (const { count, ids } of results) {
      tokens.push(Math.min(count + specialTokens, maxTokens));
      const kept = ids.slice(0, maxTokens - specialTokens);
      // Which special token it is makes no difference to how long the model takes.
      rows.push([...Array.from({ length: specialTokens }, () => kept[0] ?? 0), ...kept]);
    }
  }
  return { ...pool, rows, tokens };
}
