import { createHash } from 'node:crypto';
import { RagError } from '../../orchestrator/errors.ts';
import type { Embedder, EmbeddingModel, EmbedResult, SpaceOptions } from '../../orchestrator/ports.ts';

/** Sees every call to a port before and after it takes effect; what it throws, the call throws. */
export interface Probe {
  before?(call: string): void;
  after?(call: string): void;
  /** Holds asynchronous calls back. */
  gate?(call: string, signal: AbortSignal | undefined): Promise<void>;
}

const DIMENSION = 16;

/** Tokens as a WordPiece tokenizer would count them, roughly: six letters or three digits each. */
export function fakeTokens(text: string): number {
  return text.match(/\p{L}{1,6}|\p{N}{1,3}|[^\s\p{L}\p{N}]/gu)?.length ?? 0;
}

const directions = new Map<string, Buffer>();

function direction(word: string): Buffer {
  const known = directions.get(word) ?? createHash('sha256').update(word).digest();
  directions.set(word, known);
  return known;
}

/** A unit vector that depends on the words of a text, each of which has its own direction. */
export function fakeVector(text: string): Float32Array {
  const vector = new Float32Array(DIMENSION);
  for (const word of text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ['']) {
    const bytes = direction(word);
    for (let i = 0; i < DIMENSION; i++) vector[i]! += bytes[i]! - 127.5;
  }
  const length = Math.hypot(...vector) || 1;
  return vector.map((value) => value / length);
}

/** Embeds by hashing words: deterministic, and texts that share words are near. */
export class FakeEmbedder implements Embedder {
  probe: Probe = {};
  model: EmbeddingModel = {
    model: 'fake',
    version: 1,
    space: 'fake-space',
    dimension: DIMENSION,
    maxTokens: 256,
    specialTokens: 2,
  };
  /** Versions that are served beside it, and answer where their space is asked for. */
  others: EmbeddingModel[] = [];
  /** Every text that was embedded, in order. */
  readonly embedded: string[] = [];
  /** Spaces in which texts were embedded or counted, in order of the first text. */
  readonly spaces = new Set<string>();
  /** Number of texts of each call to countTokens. */
  readonly counted: number[] = [];

  async describe({ space, signal }: SpaceOptions = {}): Promise<EmbeddingModel> {
    await this.#enter('describe', signal);
    return { ...this.#modelOf(space) };
  }

  async embed(texts: readonly string[], { space, signal }: SpaceOptions = {}): Promise<EmbedResult> {
    await this.#enter('embed', signal);
    const model = this.#modelOf(space);
    this.embedded.push(...texts);
    this.spaces.add(model.space);
    this.probe.after?.('embed');
    const room = model.maxTokens - model.specialTokens;
    return {
      ...model,
      vectors: texts.map(fakeVector),
      truncated: texts.map((text) => fakeTokens(text) > room),
    };
  }

  async countTokens(texts: readonly string[], { space, signal }: SpaceOptions = {}): Promise<number[]> {
    await this.#enter('countTokens', signal);
    this.spaces.add(this.#modelOf(space).space);
    this.counted.push(texts.length);
    return texts.map(fakeTokens);
  }

  #modelOf(space: string | undefined): EmbeddingModel {
    const served = [this.model, ...this.others];
    const model = space === undefined ? this.model : served.find((one) => one.space === space);
    if (model) return model;
    throw new RagError('SPACE_MISMATCH', `${served.map((one) => one.space).join(', ')} and no ${space}.`);
  }

  async #enter(call: string, signal: AbortSignal | undefined): Promise<void> {
    this.probe.before?.(call);
    await this.probe.gate?.(call, signal);
    signal?.throwIfAborted();
  }
}
