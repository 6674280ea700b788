import type { MessageShape } from '@bufbuild/protobuf';
import type { EmbedResponseSchema, ModelRef } from '../../proto/gen/serving_pb.js';
import { EmbedService } from '../../proto/gen/serving_pb.js';
import { RagError } from '../errors.ts';
import type {
  CallOptions,
  DescribeOptions,
  Embedder,
  EmbeddingModel,
  EmbedResult,
  SpaceOptions,
} from '../ports.ts';
import type { CallLimits } from './call-split.ts';
import { callsAtOnce, mapConcurrently, splitIntoCalls } from './call-split.ts';
import type { GrpcClient } from './grpc-client.ts';
import { isGone } from './grpc-error.ts';
import { malformedReply } from './malformed-reply.ts';
import type { ServedModels } from './served-models.ts';
import { unlessAborted } from './unless-aborted.ts';

/** The model server's embedding: every list of texts is embedded in one space, or not at all. */
export class ServedEmbedder implements Embedder {
  readonly #client: GrpcClient;
  readonly #model: string;
  readonly #limits: CallLimits;
  readonly #models: ServedModels;

  /** @param options `model`: the one that embeds when no space is asked for; empty: the only one that does */
  constructor(client: GrpcClient, models: ServedModels, options: { model: string; limits: CallLimits }) {
    this.#client = client;
    this.#models = models;
    this.#model = options.model;
    this.#limits = options.limits;
  }

  describe({ space, spacesInUse, signal }: DescribeOptions = {}): Promise<EmbeddingModel> {
    const asked = space === undefined ? this.#models.ask(undefined, spacesInUse) : this.#models.find(space);
    return unlessAborted(asked, signal);
  }

  embed(texts: readonly string[], options: SpaceOptions = {}): Promise<EmbedResult> {
    return this.#withModel(options, (model) => this.#embedWith(model, texts, options));
  }

  countTokens(texts: readonly string[], options: SpaceOptions = {}): Promise<number[]> {
    // Without a space any answer will do, and there is no need to know whose it is.
    if (options.space === undefined) return this.#countWith(undefined, texts, options);
    return this.#withModel(options, (model) => this.#countWith(model, texts, options));
  }

  /** Works with the model of the space; when that has gone, all of it again with what the server has instead. */
  async #withModel<T>(
    { space, signal }: SpaceOptions,
    work: (model: EmbeddingModel) => Promise<T>,
  ): Promise<T> {
    // Questions are shared by all callers, so they must not end with the first one's signal.
    const find = () => unlessAborted(this.#models.find(space), signal);
    const model = await find();
    try {
      return await work(model);
    } catch (error) {
      if (!isGone(error)) throw error;
      this.#models.forget(model);
      return await work(await find());
    }
  }

  async #embedWith(
    model: EmbeddingModel,
    texts: readonly string[],
    options: CallOptions,
  ): Promise<EmbedResult> {
    const replies = await this.#inCalls(texts, options, async (call, signal) => {
      // No version is named: whichever has the space may answer, also one that comes later.
      const request = { model: model.model, inputs: call, expectSpace: model.space };
      const { priority } = options;
      const reply = await this.#client.call(EmbedService.method.embed, request, { signal, priority });
      if (reply.model?.space !== model.space) throw spaceChanged(model, reply.model);
      this.#expectCount(reply.embeddings.length, call.length);
      return this.#readVectors(reply, model.dimension);
    });
    return {
      ...model,
      vectors: replies.flatMap(({ vectors }) => vectors),
      truncated: replies.flatMap(({ truncated }) => truncated),
    };
  }

  async #countWith(
    model: EmbeddingModel | undefined,
    texts: readonly string[],
    options: CallOptions,
  ): Promise<number[]> {
    const whose = model ? { model: model.model, version: model.version } : { model: this.#model };
    const counts = await this.#inCalls(texts, options, async (call, signal) => {
      const request = { ...whose, inputs: call };
      const reply = await this.#client.call(EmbedService.method.tokenize, request, { signal });
      if (model && reply.model?.space !== model.space) throw spaceChanged(model, reply.model);
      this.#expectCount(reply.results.length, call.length);
      return reply.results.map(({ count }) => count);
    });
    return counts.flat();
  }

  #inCalls<T>(
    texts: readonly string[],
    { signal }: CallOptions,
    work: (call: string[], signal: AbortSignal) => Promise<T>,
  ): Promise<T[]> {
    const calls = splitIntoCalls(texts, this.#limits);
    return mapConcurrently(calls, (call, ending) => work(call.texts, ending), {
      concurrency: callsAtOnce,
      signal,
    });
  }

  #readVectors(
    reply: MessageShape<typeof EmbedResponseSchema>,
    dimension: number,
  ): { vectors: Float32Array[]; truncated: boolean[] } {
    const vectors = reply.embeddings.map(({ packed }) => {
      if (packed.byteLength !== dimension * 4) {
        throw this.#malformed(`a vector of ${packed.byteLength} bytes where ${dimension} floats were due`);
      }
      return floatsFrom(packed);
    });
    return { vectors, truncated: reply.embeddings.map(({ truncated }) => truncated) };
  }

  #expectCount(actual: number, expected: number): void {
    if (actual !== expected) throw this.#malformed(`${actual} results for ${expected} texts`);
  }

  #malformed(what: string): RagError {
    return malformedReply(this.#client.address, what);
  }
}

/** The bytes are a slice of a larger message at any offset, so a Float32Array can't be laid over them. */
function floatsFrom(packed: Uint8Array): Float32Array {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const floats = new Float32Array(packed.byteLength / 4);
  for (let index = 0; index < floats.length; index += 1) floats[index] = view.getFloat32(index * 4, true);
  return floats;
}

function spaceChanged(asked: EmbeddingModel, got: ModelRef | undefined): RagError {
  const message = `The model server answered in the vector space ${got?.space || '(none)'} (${got?.name} version ${got?.version}) where ${asked.space} (${asked.model} version ${asked.version}) was asked for.`;
  return new RagError('SPACE_MISMATCH', message);
}
