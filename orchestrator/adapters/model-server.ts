import type { MessageShape } from '@bufbuild/protobuf';
import type { EmbedResponseSchema, ModelRef } from '../../proto/gen/serving_pb.js';
import {
  EmbedService,
  ModelService,
  RerankService,
  ScoreKind as WireScoreKind,
} from '../../proto/gen/serving_pb.js';
import { RagError } from '../errors.ts';
import type {
  CallOptions,
  Embedder,
  EmbeddingModel,
  EmbedResult,
  Reranker,
  RerankResult,
  RerankScore,
  ScoreKind,
} from '../ports.ts';
import type { CallLimits } from './call-split.ts';
import { mapConcurrently, splitIntoCalls } from './call-split.ts';
import type { GrpcClientOptions } from './grpc-client.ts';
import { GrpcClient } from './grpc-client.ts';

export interface ModelServerOptions extends GrpcClientOptions {
  /** Model that embeds; empty: the only one that does. */
  embedModel: string;
  /** Model that reranks; empty: the server's choice. */
  rerankModel: string;
  /** What one call carries at most. Default 128 texts and 2 MB. */
  callLimits?: CallLimits | undefined;
}

/** The model server as the orchestrator sees it. */
export interface ModelServer {
  embedder: Embedder;
  reranker: Reranker;
  /** Asks the server afresh which model embeds; throws when it can't serve now. */
  ready(options?: CallOptions): Promise<EmbeddingModel>;
  /** Finishes the running calls, then closes the connections. */
  close(): Promise<void>;
  /** Fails the running calls and closes the connections. */
  destroy(): Promise<void>;
}

/** Connects lazily to a model server; the first call finds out whether it is there. */
export function openModelServer(options: ModelServerOptions): ModelServer {
  const client = new GrpcClient(options);
  const limits = options.callLimits ?? { count: 128, bytes: 2_000_000 };
  const embedder = new ServedEmbedder(client, { model: options.embedModel, limits });
  const reranker = servedReranker(client, { model: options.rerankModel, limits });
  return {
    embedder,
    reranker,
    ready: (callOptions) => embedder.refresh(callOptions),
    close: () => client.close(),
    destroy: () => client.destroy(),
  };
}

/** Calls of one input list that run at once: enough to keep the server busy while a reply travels. */
const callsAtOnce = 2;

class ServedEmbedder implements Embedder {
  readonly #client: GrpcClient;
  readonly #model: string;
  readonly #limits: CallLimits;
  #described: Promise<EmbeddingModel> | undefined;

  constructor(client: GrpcClient, options: { model: string; limits: CallLimits }) {
    this.#client = client;
    this.#model = options.model;
    this.#limits = options.limits;
  }

  describe(options: CallOptions = {}): Promise<EmbeddingModel> {
    if (!this.#described) {
      // Shared by all callers, so it must not end with the first one's signal.
      const asked = this.#ask();
      asked.catch(() => this.#forget(asked));
      this.#described = asked;
    }
    return unlessAborted(this.#described, options.signal);
  }

  refresh(options: CallOptions = {}): Promise<EmbeddingModel> {
    this.#described = undefined;
    return this.describe(options);
  }

  async embed(texts: readonly string[], options: CallOptions = {}): Promise<EmbedResult> {
    const model = await this.describe(options);
    try {
      return await this.#embedInSpace(model, texts, options);
    } catch (error) {
      this.#described = undefined;
      // The server has another version of the model by now: all texts again, in its space.
      if (!isSpaceChange(error)) throw error;
      return await this.#embedInSpace(await this.describe(options), texts, options);
    }
  }

  async countTokens(texts: readonly string[], options: CallOptions = {}): Promise<number[]> {
    const counts = await mapConcurrently(
      splitIntoCalls(texts, this.#limits),
      async (call, signal) => {
        const request = { model: this.#model, inputs: call.texts };
        const reply = await this.#client.call(EmbedService.method.tokenize, request, { signal });
        this.#expectCount(reply.results.length, call.texts.length);
        return reply.results.map(({ count }) => count);
      },
      { concurrency: callsAtOnce, signal: options.signal },
    );
    return counts.flat();
  }

  async #embedInSpace(
    model: EmbeddingModel,
    texts: readonly string[],
    options: CallOptions,
  ): Promise<EmbedResult> {
    const replies = await mapConcurrently(
      splitIntoCalls(texts, this.#limits),
      async (call, signal) => {
        const request = { model: this.#model, inputs: call.texts, expectSpace: model.space };
        const reply = await this.#client.call(EmbedService.method.embed, request, { signal });
        if (reply.model?.space !== model.space) throw spaceChanged(model, reply.model);
        this.#expectCount(reply.embeddings.length, call.texts.length);
        return this.#readVectors(reply, model.dimension);
      },
      { concurrency: callsAtOnce, signal: options.signal },
    );
    return {
      ...model,
      vectors: replies.flatMap(({ vectors }) => vectors),
      truncated: replies.flatMap(({ truncated }) => truncated),
    };
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

  async #ask(): Promise<EmbeddingModel> {
    const [tokenizer, { models }] = await Promise.all([
      this.#client.call(EmbedService.method.tokenize, { model: this.#model, inputs: [''] }),
      this.#client.call(ModelService.method.listModels, {}),
    ]);
    const { name = '', version = 0, space = '' } = tokenizer.model ?? {};
    const listed = models.find((model) => model.name === name && model.version === version);
    if (!listed?.dimension || !space) {
      throw this.#malformed(`model "${name}" version ${version} without a dimension or a space`);
    }
    const { maxTokens, specialTokens } = tokenizer;
    return { model: name, version, space, dimension: listed.dimension, maxTokens, specialTokens };
  }

  #forget(asked: Promise<EmbeddingModel>): void {
    if (this.#described === asked) this.#described = undefined;
  }

  #expectCount(actual: number, expected: number): void {
    if (actual !== expected) throw this.#malformed(`${actual} results for ${expected} texts`);
  }

  #malformed(what: string): RagError {
    return malformed(this.#client.address, what);
  }
}

function servedReranker(client: GrpcClient, options: { model: string; limits: CallLimits }): Reranker {
  return {
    async rerank(query, passages, callOptions = {}): Promise<RerankResult> {
      const replies = await mapConcurrently(
        splitIntoCalls(passages, options.limits),
        async (call, signal) => {
          const request = { model: options.model, query, documents: call.texts };
          const reply = await client.call(RerankService.method.rerank, request, { signal });
          const scores = new Array<RerankScore | undefined>(call.texts.length).fill(undefined);
          for (const { index, score, rawScore } of reply.results) scores[index] = { score, rawScore };
          if (scores.length !== call.texts.length || scores.includes(undefined)) {
            throw malformed(
              client.address,
              `a reranking that does not score each of ${call.texts.length} passages`,
            );
          }
          return {
            kind: scoreKind(reply.kind, client.address),
            model: reply.model,
            scores: scores as RerankScore[],
          };
        },
        { concurrency: callsAtOnce, signal: callOptions.signal },
      );
      const first = replies[0];
      if (!first) return { kind: 'late_interaction', model: options.model, scores: [] };
      const same = replies.every(
        ({ kind, model }) => kind === first.kind && model?.version === first.model?.version,
      );
      if (!same) throw malformed(client.address, 'scores of two models or kinds for one reranking');
      const model = first.model?.name ?? options.model;
      return { kind: first.kind, model, scores: replies.flatMap(({ scores }) => scores) };
    },
  };
}

function scoreKind(kind: WireScoreKind, address: string): ScoreKind {
  if (kind === WireScoreKind.LATE_INTERACTION) return 'late_interaction';
  if (kind === WireScoreKind.CROSS_ENCODER) return 'cross_encoder';
  throw malformed(address, `a reranking of the unknown kind ${kind}`);
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

function isSpaceChange(error: unknown): boolean {
  if (!(error instanceof RagError)) return false;
  return error.reason === 'SPACE_MISMATCH' || error.details?.grpcCode === 'FAILED_PRECONDITION';
}

function malformed(address: string, what: string): RagError {
  return new RagError(
    'MODEL_SERVER_REFUSED',
    `The model server at ${address} sent ${what}. Is it a Nereid of the same version?`,
  );
}

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  if (signal.aborted) throw RagError.from(signal.reason);
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(RagError.from(signal.reason));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
