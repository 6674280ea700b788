import type { Embedder, Reranker } from '../ports.ts';
import type { CallLimits } from './call-split.ts';
import type { GrpcClientOptions } from './grpc-client.ts';
import { GrpcClient } from './grpc-client.ts';
import type { ModelListOptions } from './model-list.ts';
import { ModelList } from './model-list.ts';
import { ServedEmbedder } from './served-embedder.ts';
import { ServedModels } from './served-models.ts';
import { ServedReranker } from './served-reranker.ts';

export interface ModelServerOptions extends GrpcClientOptions, ModelListOptions {
  /** Model that embeds where no space is asked for; empty: the only one that does. */
  embedModel: string;
  /** Model that reranks; empty: the only cross-encoder, else the model of the space that the passages come from. */
  rerankModel: string;
  /** What one call carries at most. Default 128 texts and 2 MB. */
  callLimits?: CallLimits | undefined;
}

/** The model server as the orchestrator sees it. */
export interface ModelServer {
  embedder: Embedder;
  reranker: Reranker;
  /** Finishes the running calls, then closes the connections. */
  close(): Promise<void>;
  /** Fails the running calls and closes the connections. */
  destroy(): Promise<void>;
}

/** Connects lazily to a model server; the first call finds out whether it is there. */
export function openModelServer(options: ModelServerOptions): ModelServer {
  const client = new GrpcClient(options);
  const list = new ModelList(client, options);
  const models = new ServedModels(client, list, options.embedModel);
  const limits = options.callLimits ?? { count: 128, bytes: 2_000_000 };
  return {
    embedder: new ServedEmbedder(client, models, { model: options.embedModel, limits }),
    reranker: new ServedReranker(client, list, { model: options.rerankModel, limits }),
    close: () => client.close(),
    destroy: () => client.destroy(),
  };
}
