import type { MessageShape } from '@bufbuild/protobuf';
import type { ModelInfo, RerankResponseSchema } from '../../proto/gen/serving_pb.js';
import { RerankService, ScoreKind as WireScoreKind } from '../../proto/gen/serving_pb.js';
import type { Reranker, RerankOptions, RerankResult, RerankScore, ScoreKind } from '../ports.ts';
import type { CallLimits } from './call-split.ts';
import { callsAtOnce, mapConcurrently, splitIntoCalls } from './call-split.ts';
import type { GrpcClient } from './grpc-client.ts';
import { isGone } from './grpc-error.ts';
import { malformedReply } from './malformed-reply.ts';
import type { ModelList } from './model-list.ts';
import { bestOfSpace, isServed, namesOf, severalModels } from './model-list.ts';
import { unlessAborted } from './unless-aborted.ts';

/** Whom a request goes to: an empty name and version 0 leave that to the server. */
interface Addressee {
  model: string;
  version: number;
}

/** The model server's reranking: all passages of one query are scored by one model in one way, or not at all. */
export class ServedReranker implements Reranker {
  readonly #client: GrpcClient;
  readonly #list: ModelList;
  readonly #model: string;
  readonly #limits: CallLimits;

  /** @param options `model`: the one that reranks; empty: the only cross-encoder, else the model of the passages' space */
  constructor(client: GrpcClient, list: ModelList, options: { model: string; limits: CallLimits }) {
    this.#client = client;
    this.#list = list;
    this.#model = options.model;
    this.#limits = options.limits;
  }

  async rerank(
    query: string,
    passages: readonly string[],
    options: RerankOptions = {},
  ): Promise<RerankResult> {
    const { space, signal } = options;
    const score = (whose: Addressee) => this.#scoreWith(whose, { query, passages }, options);
    if (this.#model !== '') return score({ model: this.#model, version: 0 });
    const listed = await unlessAborted(this.#list.latest(), signal);
    try {
      return await score(this.#choose(listed, space));
    } catch (error) {
      if (!isGone(error)) throw error;
      return await score(this.#choose(await unlessAborted(this.#list.fresh(), signal), space));
    }
  }

  /** The only cross-encoder, else the model of the space, else whoever can. */
  #choose(listed: readonly ModelInfo[], space: string | undefined): Addressee {
    const able = listed.filter((info) => isServed(info) && info.tasks.includes('rerank'));
    const [crossEncoder, ...more] = namesOf(able.filter(({ tasks }) => !tasks.includes('embed')));
    if (crossEncoder !== undefined && more.length === 0) return { model: crossEncoder, version: 0 };
    const own = space === undefined ? undefined : bestOfSpace(able, space, '');
    if (own) {
      const { name: model, version } = own;
      // Where all its versions are of the space, the server's rollout goes on to choose among them.
      const isPure = able.every((info) => info.name !== model || info.space === space);
      return { model, version: isPure ? 0 : version };
    }
    const names = namesOf(able);
    if (names.length > 1) throw severalModels(this.#list, names, { can: 'rerank', flag: '--rerank-model' });
    return { model: '', version: 0 };
  }

  async #scoreWith(
    whose: Addressee,
    { query, passages }: { query: string; passages: readonly string[] },
    { signal: ended }: RerankOptions,
  ): Promise<RerankResult> {
    const replies = await mapConcurrently(
      splitIntoCalls(passages, this.#limits),
      async ({ texts: documents }, signal) => {
        const request = { ...whose, query, documents };
        const reply = await this.#client.call(RerankService.method.rerank, request, { signal });
        return {
          kind: this.#kindOf(reply),
          model: reply.model,
          scores: this.#scoresOf(reply, documents.length),
        };
      },
      { concurrency: callsAtOnce, signal: ended },
    );
    const first = replies[0];
    if (!first) return { kind: 'late_interaction', model: whose.model, scores: [] };
    const same = replies.every(
      ({ kind, model }) =>
        kind === first.kind && model?.name === first.model?.name && model?.version === first.model?.version,
    );
    if (!same) throw this.#malformed('scores of two models or kinds for one reranking');
    const model = first.model?.name ?? whose.model;
    return { kind: first.kind, model, scores: replies.flatMap(({ scores }) => scores) };
  }

  #scoresOf({ results }: MessageShape<typeof RerankResponseSchema>, count: number): RerankScore[] {
    const scores = new Array<RerankScore | undefined>(count).fill(undefined);
    for (const { index, score, rawScore } of results) scores[index] = { score, rawScore };
    if (scores.length !== count || scores.includes(undefined))
      throw this.#malformed(`a reranking that does not score each of ${count} passages`);
    return scores as RerankScore[];
  }

  #kindOf({ kind }: MessageShape<typeof RerankResponseSchema>): ScoreKind {
    if (kind === WireScoreKind.LATE_INTERACTION) return 'late_interaction';
    if (kind === WireScoreKind.CROSS_ENCODER) return 'cross_encoder';
    throw this.#malformed(`a reranking of the unknown kind ${kind}`);
  }

  #malformed(what: string): Error {
    return malformedReply(this.#client.address, what);
  }
}
