import { RerankService, ScoreKind as WireScoreKind } from '../../proto/gen/serving_pb.js';
import type {
  CallOptions,
  Embedder,
  EmbeddingModel,
  Reranker,
  RerankResult,
  RerankScore,
  ScoreKind,
} from '../ports.ts';
import type { CallLimits } from './call-split.ts';
import { mapConcurrently, splitIntoCalls } from './call-split.ts';
import type { GrpcClientOptions } from './grpc-client.ts';
import { GrpcClient } from './grpc-client.ts';
import { malformedReply } from './malformed-reply.ts';
import { callsAtOnce, ServedEmbedder } from './served-embedder.ts';

export interface ModelServerOptions extends GrpcClientOptions {
  /** Model that embeds where no space is asked for; empty: the only one that does. */
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
    ready: (callOptions) => embedder.describe(callOptions),
    close: () => client.close(),
    destroy: () => client.destroy(),
  };
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
            throw malformedReply(
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
      if (!same) throw malformedReply(client.address, 'scores of two models or kinds for one reranking');
      const model = first.model?.name ?? options.model;
      return { kind: first.kind, model, scores: replies.flatMap(({ scores }) => scores) };
    },
  };
}

function scoreKind(kind: WireScoreKind, address: string): ScoreKind {
  if (kind === WireScoreKind.LATE_INTERACTION) return 'late_interaction';
  if (kind === WireScoreKind.CROSS_ENCODER) return 'cross_encoder';
  throw malformedReply(address, `a reranking of the unknown kind ${kind}`);
}
